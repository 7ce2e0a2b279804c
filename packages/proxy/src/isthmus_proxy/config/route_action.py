"""Compiles what a route does: forward, redirect or answer directly (config.route.v3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus_proxy.config.direct_response import compile_direct_response
from isthmus_proxy.config.hash_policy import compile_hash_policies
from isthmus_proxy.config.internal_redirect import compile_internal_redirect
from isthmus_proxy.config.mirror_policy import compile_mirrors
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.path_rewrite import compile_rewrites
from isthmus_proxy.config.retry_policy import compile_retry_policy
from isthmus_proxy.config.route_match import compile_regex_rewrite
from isthmus_proxy.config.upgrades import compile_upgrades, terminates_connect
from isthmus_proxy.config.values import flag, number, optional_seconds, seconds
from isthmus_proxy.config.weighted_clusters import compile_clusters
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import (
    Action,
    ForwardAction,
    MirrorPolicy,
    NonForwardingAction,
    RedirectAction,
    RetryPolicy,
)

if TYPE_CHECKING:
    from isthmus_proxy.ratelimit.descriptors import RateLimit

_NOT_FOUND_STATUS = (503, 404, 500)  # RouteAction.ClusterNotFoundResponseCode
_REDIRECT_STATUS = (301, 302, 303, 307, 308)  # RedirectAction.RedirectResponseCode


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a route takes from its virtual host and its route configuration where it says nothing itself.

    ``max_body`` is the limit of direct response bodies in bytes; ``buffer_limit`` that of bodies kept for a retry.
    """

    max_body: int
    retry_policy: RetryPolicy | None = None
    hedge_on_per_try_timeout: bool = False
    mirrors: tuple[MirrorPolicy, ...] = ()
    buffer_limit: int | None = None


def compile_action(route: Any, path: str, inherited: Inherited) -> Action:
    """Compile the action of a route."""
    chosen = route.WhichOneof("action")
    if chosen == "route":
        return _forward(route, join(path, chosen), inherited)
    if chosen == "redirect":
        if route.redirect.prefix_rewrite and route.match.HasField("path_match_policy"):
            place = join(path, "redirect.prefix_rewrite")
            raise ConfigError(
                place, route.redirect.prefix_rewrite, "does not go with path_match_policy; use path_redirect"
            )
        return _redirect(route.redirect, join(path, chosen))
    if chosen == "direct_response":
        return compile_direct_response(route.direct_response, join(path, chosen), inherited.max_body)
    if chosen == "non_forwarding_action":
        return NonForwardingAction()
    raise ConfigError(path, "", "needs one of route, redirect, direct_response and non_forwarding_action")


def _forward(route: Any, path: str, inherited: Inherited) -> ForwardAction:
    action = route.route
    clusters = compile_clusters(action, path)
    prefix, regex, template = compile_rewrites(route, path)
    policy = inherited.retry_policy
    if action.HasField("retry_policy"):
        policy = compile_retry_policy(action.retry_policy, join(path, "retry_policy"))
    hedge = inherited.hedge_on_per_try_timeout
    if action.HasField("hedge_policy"):
        hedge = action.hedge_policy.hedge_on_per_try_timeout
    host = action.WhichOneof("host_rewrite_specifier")
    duration = action.max_stream_duration
    durations = join(path, "max_stream_duration")
    return ForwardAction(
        clusters=clusters,
        total_weight=sum(cluster.weight for cluster in clusters),
        timeout=_timeout(action, path),
        idle_timeout=optional_seconds(action, "idle_timeout", path),
        retry_policy=policy if policy is not None and (policy.retry_on or policy.per_try_timeout) else None,
        prefix_rewrite=prefix,
        regex_rewrite=regex,
        template_rewrite=template,
        host_rewrite=action.host_rewrite_literal.encode() if host == "host_rewrite_literal" else None,
        host_rewrite_header=action.host_rewrite_header.lower().encode() if host == "host_rewrite_header" else b"",
        host_rewrite_path_regex=compile_regex_rewrite(action.host_rewrite_path_regex, join(path, host))
        if host == "host_rewrite_path_regex"
        else None,
        auto_host_rewrite=flag(action, "auto_host_rewrite", default=False) if host == "auto_host_rewrite" else False,
        append_forwarded_host=action.append_x_forwarded_host,
        priority=action.priority,
        hash_policies=compile_hash_policies(action, path),
        cluster_not_found_status=_NOT_FOUND_STATUS[action.cluster_not_found_response_code],
        random_header=action.weighted_clusters.header_name.lower().encode(),
        weights_by_hash=flag(action.weighted_clusters, "use_hash_policy", default=False),
        max_stream_duration=optional_seconds(duration, "max_stream_duration", durations),
        max_grpc_timeout=optional_seconds(duration, "grpc_timeout_header_max", durations),
        grpc_timeout_offset=seconds(duration, "grpc_timeout_header_offset", 0.0, durations),
        hedge_on_per_try_timeout=hedge,
        mirrors=compile_mirrors(action, path) or inherited.mirrors,
        buffer_limit=buffer_limit(route, path, inherited.buffer_limit),
        internal_redirect=compile_internal_redirect(action, path),
        upgrades=compile_upgrades(action, path),
        terminates_connect=terminates_connect(action, path),
        rate_limits=rate_limits(action, path),
        include_vh_rate_limits=flag(action, "include_vh_rate_limits", default=False),
    )


def _timeout(action: Any, path: str) -> float:
    timeout = seconds(action, "timeout", 15.0, path)
    # Envoy: whoever sets max_stream_duration has chosen that kind of limit, and the other no longer counts.
    return 0.0 if action.HasField("max_stream_duration") else timeout


def buffer_limit(message: Any, path: str, inherited: int | None) -> int | None:
    """``request_body_buffer_limit`` or its predecessor of a route or a virtual host, in bytes."""
    name = "request_body_buffer_limit"
    if message.HasField(name):
        return number(message, name, 0, path)
    if message.HasField("per_request_buffer_limit_bytes"):
        return number(message, "per_request_buffer_limit_bytes", 0, path)
    return inherited


def rate_limits(message: Any, path: str) -> tuple[RateLimit, ...]:
    """``rate_limits`` of a route or a virtual host."""
    if not message.rate_limits:
        return ()
    from isthmus_proxy.config.rate_limits import compile_rate_limits  # noqa: PLC0415 - few routes have any

    return compile_rate_limits(message.rate_limits, join(path, "rate_limits"))


def _redirect(action: Any, path: str) -> RedirectAction:
    chosen = action.WhichOneof("path_rewrite_specifier")
    regex = None
    if chosen == "regex_rewrite":
        regex = compile_regex_rewrite(action.regex_rewrite, join(path, chosen))
    return RedirectAction(
        status=_REDIRECT_STATUS[action.response_code],
        host=action.host_redirect.encode() or None,
        port=action.port_redirect or None,
        scheme=action.scheme_redirect.encode() or None,
        https=action.https_redirect,
        path=action.path_redirect.encode() if chosen == "path_redirect" else None,
        prefix_rewrite=action.prefix_rewrite.encode() if chosen == "prefix_rewrite" else None,
        regex_rewrite=regex,
        strip_query=action.strip_query,
    )
