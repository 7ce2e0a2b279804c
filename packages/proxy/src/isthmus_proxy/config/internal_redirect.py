"""Compiles config.route.v3.InternalRedirectPolicy."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.extensions import name_of, unpack_as
from isthmus_proxy.config.header_edits import header_name
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import number
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import InternalRedirectPolicy

_EXTENSIONS = "envoy.extensions.internal_redirect"
_ALLOWED = f"{_EXTENSIONS}.allow_listed_routes.v3.AllowListedRoutesConfig"
_PREVIOUS = f"{_EXTENSIONS}.previous_routes.v3.PreviousRoutesConfig"
_SAFE_SCHEME = f"{_EXTENSIONS}.safe_cross_scheme.v3.SafeCrossSchemeConfig"
_STATUSES = frozenset({301, 302, 303, 307, 308})
_MAX_CODES = 5


def compile_internal_redirect(action: Any, path: str) -> InternalRedirectPolicy | None:
    """Compile the policy of a RouteAction, None without one."""
    if not action.HasField("internal_redirect_policy"):
        return None
    policy, path = action.internal_redirect_policy, join(path, "internal_redirect_policy")
    if len(policy.redirect_response_codes) > _MAX_CODES:
        place = join(path, "redirect_response_codes")
        raise ConfigError(place, f"{len(policy.redirect_response_codes)} codes", f"at most {_MAX_CODES} are allowed")
    allowed: list[frozenset[str]] = []
    kinds: set[str] = set()
    for index, predicate in enumerate(policy.predicates):
        place = f"{join(path, 'predicates')}[{index}].typed_config"
        config: Any = unpack_as(predicate.typed_config, place, _ALLOWED, _PREVIOUS, _SAFE_SCHEME)
        kinds.add(name_of(predicate.typed_config.type_url))
        if name_of(predicate.typed_config.type_url) == _ALLOWED:
            allowed.append(frozenset(config.allowed_route_names))
    return InternalRedirectPolicy(
        max_redirects=number(policy, "max_internal_redirects", 1, path),
        codes=frozenset(policy.redirect_response_codes or (302,)) & _STATUSES,
        allow_cross_scheme=policy.allow_cross_scheme_redirect,
        headers_to_copy=tuple(
            _copied(name, f"{join(path, 'response_headers_to_copy')}[{i}]")
            for i, name in enumerate(policy.response_headers_to_copy)
        ),
        allowed_routes=tuple(allowed),
        refuse_previous_routes=_PREVIOUS in kinds,
        refuse_downgrade_of_trust=_SAFE_SCHEME in kinds,
    )


def _copied(name: str, path: str) -> bytes:
    if name.startswith(":") or name.lower() == "host":
        raise ConfigError(path, shown(name), "cannot be copied")
    return header_name(name, path)
