"""Compiles config.route.v3.RouteAction.HashPolicy."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_regex_rewrite
from isthmus_proxy.config.values import required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.hash_policy_model import CookieHash, HashPolicy, HeaderHash, QueryParameterHash, SourceIpHash


def compile_hash_policies(action: Any, path: str) -> tuple[HashPolicy, ...]:
    """Compile the hash policies of a checked route action. Raises ConfigError."""
    path = join(path, "hash_policy")
    found = [_policy(policy, f"{path}[{index}]") for index, policy in enumerate(action.hash_policy)]
    return tuple(policy for policy in found if policy is not None)


def _policy(policy: Any, path: str) -> HashPolicy | None:
    chosen, terminal = policy.WhichOneof("policy_specifier"), bool(policy.terminal)
    if chosen is None:
        raise ConfigError(path, "", "needs one of header, cookie, connection_properties and query_parameter")
    specifier, path = getattr(policy, chosen), join(path, chosen)
    if chosen == "header":
        return _header(specifier, path, terminal=terminal)
    if chosen == "cookie":
        return _cookie(specifier, path, terminal=terminal)
    if chosen == "query_parameter":
        return QueryParameterHash(required(specifier, "name", path).encode(), terminal)
    return SourceIpHash(terminal) if specifier.source_ip else None


def _header(header: Any, path: str, *, terminal: bool) -> HeaderHash:
    rewrite = None
    if header.HasField("regex_rewrite"):
        compiled = compile_regex_rewrite(header.regex_rewrite, join(path, "regex_rewrite"))
        rewrite = (compiled.pattern, compiled.substitution)
    return HeaderHash(required(header, "header_name", path).lower().encode(), rewrite, terminal)


def _cookie(cookie: Any, path: str, *, terminal: bool) -> CookieHash:
    ttl = None
    if cookie.HasField("ttl"):
        if cookie.ttl.seconds < 0 or cookie.ttl.nanos < 0:
            raise ConfigError(join(path, "ttl"), shown(f"{cookie.ttl.seconds}s"), "must not be negative")
        ttl = int(cookie.ttl.seconds)
    attributes = tuple((each.name.encode(), each.value.encode()) for each in cookie.attributes)
    return CookieHash(required(cookie, "name", path).encode(), ttl, cookie.path.encode(), attributes, terminal)
