"""What a route does: forward with retries, redirect, or answer itself; and header edits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, HeaderValueOption
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    RedirectAction,
    RetryPolicy,
    RouteAction,
    WeightedCluster,
)
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import HTTPRedirect
from isthmus_controlplane.model.scope import NodeKind
from isthmus_controlplane.translate.destinations import Destinations
from isthmus_controlplane.translate.http_filters import set_overrides
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.mirrors import mirror_policy, mirrors_of

# Istio's retry policy for routes that say nothing about retries.
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_ATTEMPTS = 2
HOST_SELECTION_ATTEMPTS = 5
PRIORITY_UPDATE_FREQUENCY = 2  # Istio's: attempts after which a priority that failed is left out
_REDIRECT_CODES = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}


def forward(cluster: str, hash_policy: Any = None) -> Any:
    """Forward to one cluster with Istio's defaults: no timeout, the default retries."""
    hashing = [hash_policy] if hash_policy is not None else []
    return RouteAction(cluster=cluster, timeout=Duration(), retry_policy=retry_policy(None), hash_policy=hashing)


def set_action(
    route: Any, http: Any, destinations: Destinations, listener_port: int, *, kind: NodeKind = "sidecar"
) -> None:
    """Set on an Envoy Route the action of an Istio HTTPRoute.

    Args:
        route: the message to fill.
        http: the HTTPRoute.
        destinations: what the destinations in it stand for.
        listener_port: the port to which requests came, for redirects.
        kind: of the node; a gRPC client reads the timeout of a route from ``max_stream_duration`` (gRFC A31).
    """
    if http.HasField("redirect"):
        route.redirect.CopyFrom(_redirect(http.redirect, listener_port))
    elif http.HasField("direct_response"):
        route.direct_response.CopyFrom(_direct_response(http.direct_response))
    else:
        _set_forward(route, http, destinations)
        if kind == "grpc" and http.timeout.ToNanoseconds() > 0:
            route.route.max_stream_duration.max_stream_duration.CopyFrom(http.timeout)
    edit_headers(route, http.headers)
    set_overrides(route, http, kind)


def _set_forward(route: Any, http: Any, destinations: Destinations) -> None:
    action = RouteAction(timeout=http.timeout if http.HasField("timeout") else Duration())
    if destinations.of_gateway_api:
        action.cluster_not_found_response_code = RouteAction.INTERNAL_SERVER_ERROR
    policy = retry_policy(http.retries if http.HasField("retries") else None)
    if policy is not None:
        action.retry_policy.CopyFrom(policy)
    targets = [target for target in http.route if target.weight > 0] if len(http.route) > 1 else list(http.route)
    if len(targets) == 1:
        action.cluster = destinations.cluster(targets[0].destination)
        edit_headers(route, targets[0].headers)
    else:
        action.weighted_clusters.CopyFrom(WeightedCluster(clusters=_weights(targets, destinations)))
    _hash(action, targets, destinations)
    _rewrite(action, http.rewrite)
    policies = (mirror_policy(destinations.cluster(target), percent) for target, percent in mirrors_of(http))
    action.request_mirror_policies.extend(policy for policy in policies if policy is not None)
    route.route.CopyFrom(action)


def _hash(action: Any, targets: Iterable[Any], destinations: Destinations) -> None:
    """Hash by every key that one of the destinations wants; a request is hashed before its destination is drawn."""
    for target in targets:
        policy = destinations.hash_policy(target.destination)
        if policy is not None and policy not in action.hash_policy:
            action.hash_policy.append(policy)


def _weights(targets: Iterable[Any], destinations: Destinations) -> list[Any]:
    clusters = []
    for target in targets:
        weight = WeightedCluster.ClusterWeight(
            name=destinations.cluster(target.destination), weight=UInt32Value(value=target.weight)
        )
        edit_headers(weight, target.headers)
        clusters.append(weight)
    return clusters


def _rewrite(action: Any, rewrite: Any) -> None:
    if rewrite.uri:
        action.prefix_rewrite = rewrite.uri
    if rewrite.authority:
        action.host_rewrite_literal = rewrite.authority
    if rewrite.HasField("uri_regex_rewrite"):
        regex = rewrite.uri_regex_rewrite
        action.regex_rewrite.CopyFrom(
            RegexMatchAndSubstitute(pattern=RegexMatcher(regex=regex.match), substitution=regex.rewrite)
        )


def retry_policy(retries: Any) -> Any:
    """Translate HTTPRetry; None asks for Istio's default, and no attempts mean no policy (None)."""
    if retries is not None and retries.attempts == 0:
        return None
    policy = RetryPolicy(
        retry_on=DEFAULT_RETRY_ON,
        num_retries=UInt32Value(value=DEFAULT_ATTEMPTS if retries is None else retries.attempts),
        host_selection_retry_max_attempts=HOST_SELECTION_ATTEMPTS,
    )
    if (
        retries is None
        or not retries.HasField("retry_ignore_previous_hosts")
        or retries.retry_ignore_previous_hosts.value
    ):
        predicate = RetryPolicy.RetryHostPredicate(
            name="envoy.retry_host_predicates.previous_hosts", typed_config=packed(PreviousHostsPredicate())
        )
        policy.retry_host_predicate.append(predicate)
    if retries is not None:
        _custom_retries(policy, retries)
    return policy


def _custom_retries(policy: Any, retries: Any) -> None:
    parts = [part.strip() for part in retries.retry_on.split(",") if part.strip()]
    codes = [int(part) for part in parts if part.isdecimal()]
    if parts:
        conditions = [part for part in parts if not part.isdecimal()]
        if codes and "retriable-status-codes" not in conditions:
            conditions.append("retriable-status-codes")
        policy.retry_on = ",".join(conditions)
        policy.retriable_status_codes.extend(codes)
    if retries.retry_remote_localities.value:
        priorities = PreviousPrioritiesConfig(update_frequency=PRIORITY_UPDATE_FREQUENCY)
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        policy.retry_priority.typed_config.CopyFrom(packed(priorities))
    if retries.HasField("per_try_timeout"):
        policy.per_try_timeout.CopyFrom(retries.per_try_timeout)
    if retries.HasField("backoff"):
        policy.retry_back_off.base_interval.CopyFrom(retries.backoff)


def _redirect(redirect: Any, listener_port: int) -> Any:
    action = RedirectAction(
        host_redirect=redirect.authority,
        scheme_redirect=redirect.scheme or None,
        response_code=_REDIRECT_CODES[redirect.redirect_code or 301],
    )
    if redirect.uri:
        action.path_redirect = redirect.uri
    elif redirect.prefix_rewrite:
        action.prefix_rewrite = redirect.prefix_rewrite
    match redirect.WhichOneof("redirect_port"):
        case "port":
            action.port_redirect = redirect.port
        case "derive_port" if redirect.derive_port == HTTPRedirect.FROM_REQUEST_PORT:
            action.port_redirect = listener_port
    return action


def _direct_response(response: Any) -> Any:
    action = DirectResponseAction(status=response.status)
    match response.body.WhichOneof("specifier"):
        case "string":
            action.body.CopyFrom(DataSource(inline_string=response.body.string))
        case "bytes":
            action.body.CopyFrom(DataSource(inline_bytes=response.body.bytes))
    return action


def edit_headers(target: Any, headers: Any) -> None:
    """Put Istio's header operations on a Route or a ClusterWeight."""
    target.request_headers_to_add.extend(_additions(headers.request))
    target.request_headers_to_remove.extend(headers.request.remove)
    target.response_headers_to_add.extend(_additions(headers.response))
    target.response_headers_to_remove.extend(headers.response.remove)


def _additions(operations: Any) -> list[Any]:
    groups = (
        (operations.set, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
        (operations.add, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
    )
    return [
        HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)
        for pairs, action in groups
        for name, value in sorted(pairs.items())
    ]
