"""Compiles what a route does: forward, redirect or answer directly (config.route.v3)."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.header_edits import compile_request_edits, compile_response_edits
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.retry_policy import compile_retry_policy
from isthmus_proxy.config.route_match import compile_regex_rewrite
from isthmus_proxy.config.values import flag, required, seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import (
    Action,
    ClusterWeight,
    DirectResponseAction,
    ForwardAction,
    RedirectAction,
    RegexRewrite,
    RetryPolicy,
)

_NOT_FOUND_STATUS = (503, 404, 500)  # RouteAction.ClusterNotFoundResponseCode
_REDIRECT_STATUS = (301, 302, 303, 307, 308)  # RedirectAction.RedirectResponseCode


def compile_action(route: Any, path: str, inherited: RetryPolicy | None, max_body: int) -> Action:
    """Compile the action of a route. ``inherited`` is the retry policy of its virtual host, ``max_body`` a limit in bytes."""
    chosen = route.WhichOneof("action")
    if chosen == "route":
        return _forward(route.route, join(path, chosen), inherited)
    if chosen == "redirect":
        return _redirect(route.redirect, join(path, chosen))
    if chosen == "direct_response":
        return _direct_response(route.direct_response, join(path, chosen), max_body)
    raise ConfigError(path, "", "needs one of route, redirect and direct_response")


def _forward(action: Any, path: str, inherited: RetryPolicy | None) -> ForwardAction:
    clusters = _clusters(action, path)
    prefix, regex = _rewrites(action, path)
    policy = inherited
    if action.HasField("retry_policy"):
        policy = compile_retry_policy(action.retry_policy, join(path, "retry_policy"))
    host = action.WhichOneof("host_rewrite_specifier")
    idle = seconds(action, "idle_timeout", -1.0, path)
    return ForwardAction(
        clusters=clusters,
        total_weight=sum(cluster.weight for cluster in clusters),
        timeout=seconds(action, "timeout", 15.0, path),
        idle_timeout=None if idle < 0 else idle,
        retry_policy=policy if policy is not None and policy.retry_on else None,
        prefix_rewrite=prefix,
        regex_rewrite=regex,
        host_rewrite=action.host_rewrite_literal.encode() if host == "host_rewrite_literal" else None,
        auto_host_rewrite=flag(action, "auto_host_rewrite", default=False) if host == "auto_host_rewrite" else False,
        append_forwarded_host=action.append_x_forwarded_host,
        priority=action.priority,
        cluster_not_found_status=_NOT_FOUND_STATUS[action.cluster_not_found_response_code],
    )


def _clusters(action: Any, path: str) -> tuple[ClusterWeight, ...]:
    chosen = action.WhichOneof("cluster_specifier")
    if chosen == "cluster":
        return (ClusterWeight(required(action, "cluster", path)),)
    if chosen != "weighted_clusters":
        raise ConfigError(path, "", "needs one of cluster and weighted_clusters")
    path = join(path, chosen)
    weighted = action.weighted_clusters
    clusters = tuple(
        _cluster_weight(item, f"{join(path, 'clusters')}[{i}]") for i, item in enumerate(weighted.clusters)
    )
    total = sum(cluster.weight for cluster in clusters)
    if total == 0 or total > 0xFFFFFFFF:
        raise ConfigError(join(path, "clusters"), f"weights add up to {total}", "must be from 1 to 4294967295 together")
    if weighted.HasField("total_weight") and weighted.total_weight.value != total:
        reason = f"is not the sum of the weights, {total}; remove it"
        raise ConfigError(join(path, "total_weight"), str(weighted.total_weight.value), reason)
    return clusters


def _cluster_weight(item: Any, path: str) -> ClusterWeight:
    return ClusterWeight(
        required(item, "name", path),
        int(item.weight.value),
        compile_request_edits(item, path),
        compile_response_edits(item, path),
    )


def _rewrites(action: Any, path: str) -> tuple[bytes | None, RegexRewrite | None]:
    regex = None
    if action.HasField("regex_rewrite"):
        if action.prefix_rewrite:
            raise ConfigError(
                join(path, "regex_rewrite"), "", "only one of prefix_rewrite and regex_rewrite may be set"
            )
        regex = compile_regex_rewrite(action.regex_rewrite, join(path, "regex_rewrite"))
    return action.prefix_rewrite.encode() or None, regex


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


def _direct_response(action: Any, path: str, max_body: int) -> DirectResponseAction:
    if not 200 <= action.status <= 599:
        raise ConfigError(join(path, "status"), str(action.status), "must be from 200 to 599")
    chosen = action.body.WhichOneof("specifier")
    body = action.body.inline_string.encode() if chosen == "inline_string" else action.body.inline_bytes
    if len(body) > max_body:
        reason = f"is longer than max_direct_response_body_size_bytes of its route configuration, {max_body}"
        raise ConfigError(join(path, "body"), shown(body[:40]), reason)
    return DirectResponseAction(action.status, body)
