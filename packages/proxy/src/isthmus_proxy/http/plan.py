"""What the proxy does with a request, worked out once for each distinct head and reused as long as the route table lives.

A plan is a function of the head, the configuration and the route table, except for the request's identifier, which is cut
into the finished upstream head where a marker stands. Where a header edit depends on the exchange (a format command), the
head is finished anew for each request from the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isthmus_proxy.codec.http1.framing import CHUNKED, LENGTH, NO_BODY
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.serialise import request_head
from isthmus_proxy.http.client_address import Vantage
from isthmus_proxy.http.forwarded import X_REQUEST_ID, arrival
from isthmus_proxy.http.local_reply import (
    ABSOLUTE_PATH_REJECTED,
    CONNECT_NOT_ROUTED,
    ROUTE_NOT_FOUND,
    UPGRADE_FAILED,
    LocalReply,
    is_grpc,
)
from isthmus_proxy.http.message import Headers, RequestHead, set_header
from isthmus_proxy.http.request_overrides import overridden
from isthmus_proxy.http.response_plan import Style, Styles
from isthmus_proxy.http.retry import retry_rules
from isthmus_proxy.http.stream_duration import grpc_timeout_value, stream_duration
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import HttpConnectionManagerConfig
from isthmus_proxy.route import rewrite
from isthmus_proxy.route.model import ClusterWeight, Decision, ForwardAction, HeaderEdits
from isthmus_proxy.route.request_groups import Groups
from isthmus_proxy.route.table import RouteTable, pick_by_header
from isthmus_proxy.upstream.upgrade import KEY, WEBSOCKET

if TYPE_CHECKING:
    from isthmus_proxy.route.scopes import ScopedRoutes

ID_MARKER = bytes(bytearray(b"request-id"))
"""Stands for the identifier in planned heads; recognised by identity, so no header value can be mistaken for it."""

_NO_BODY_METHODS = frozenset({b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"})
TIMEOUT_HEADER = b"x-envoy-expected-rq-timeout-ms"
ATTEMPT_HEADER = b"x-envoy-attempt-count"


@dataclass(frozen=True, slots=True)
class RequestFraming:
    """What of a request decides how its body is framed upstream.

    A target does not keep the request itself, which keeps its plan: plans of heads that come once would be garbage in cycles.
    """

    method: bytes
    framing: int
    length: int
    upgrade: bytes | None


class Plan:
    """``reply`` if the proxy answers itself, else ``action`` and ``decision`` say where the request goes.

    ``head`` is the request as its route saw it; ``needs_id`` if the proxy names the request, whose ``own_id`` is then empty.
    ``client`` is the original client's ``host:port``, if it is not the connection's.
    """

    __slots__ = (
        "_latest",
        "_targets",
        "action",
        "client",
        "decision",
        "groups",
        "head",
        "needs_id",
        "own_id",
        "reply",
        "table",
        "upgrade",
    )

    def __init__(self, table: RouteTable | None, head: RequestHead) -> None:
        self.table = table
        self.head = head
        self.needs_id = any(value is ID_MARKER for _, value in head.headers)
        self.own_id = b"" if self.needs_id else head.get(X_REQUEST_ID) or b""
        self.reply: LocalReply | None = None
        self.decision: Decision | None = None
        self.action: ForwardAction | None = None
        self.upgrade = False
        self.client = ""
        self.groups: Groups = ()
        self._targets: dict[ClusterWeight, Target] = {}
        self._latest: Target | None = None

    def named_head(self, identifier: bytes) -> RequestHead:
        """The request as its route saw it, with its identifier where the proxy gave one."""
        head = self.head
        if not self.needs_id:
            return head
        headers = [(name, identifier if value is ID_MARKER else value) for name, value in head.headers]
        return RequestHead(head.method, head.path, head.authority, headers, head.version)

    def target(self, weight: ClusterWeight, request: ParsedRequest, styles: Styles) -> Target:
        """The target of this plan in the cluster of ``weight``."""
        latest = self._latest
        if latest is not None and latest.weight is weight:
            latest.head.repeated = True
            return latest  # without hashing, which for a weight is no small matter
        target = self._targets.get(weight)
        if target is None:
            target = self._targets[weight] = Target(self, weight, request, styles)
        self._latest = target
        return target


class Target:
    """A request bound for one cluster: ``before`` + identifier + ``after`` is its head, if it is ``static``.

    ``head`` is the same as a value, for the access log; ``id_index`` is where the identifier is in its headers, or -1.
    ``balanced``: the route asks something of load balancing; ``groups`` count the request besides its cluster.
    ``terminates``: the request opens a tunnel that ends here, to a TCP connection of the cluster. ``needs_key``: it asks for WebSocket
    without the key that HTTP/1.1 wants, since it came over HTTP/2.
    """

    __slots__ = (
        "_http2",
        "_plan_head",
        "action",
        "after",
        "balanced",
        "before",
        "chunked",
        "cluster",
        "decision",
        "duration",
        "framing",
        "groups",
        "head",
        "id_index",
        "needs_key",
        "original_path",
        "rules",
        "static",
        "style",
        "suppress_envoy_headers",
        "terminates",
        "upgrade",
        "weight",
    )  # fmt: skip

    def __init__(self, plan: Plan, weight: ClusterWeight, request: ParsedRequest, styles: Styles) -> None:
        decision, action = plan.decision, plan.action
        if decision is None or action is None:
            raise ValueError("a plan without a forwarding action has no targets")
        self.decision = decision
        self.action = action
        self.weight = weight
        self.cluster = weight.cluster or (plan.head.get(weight.cluster_header) or b"").decode("latin-1")
        self.rules = None if action.retry_policy is None else retry_rules(action.retry_policy)
        self.duration = stream_duration(action, plan.head)
        self.groups = plan.groups
        self.framing = RequestFraming(request.method, request.framing, request.length, request.upgrade)
        self.upgrade = plan.upgrade
        self.terminates = action.terminates_connect and request.method == b"CONNECT"
        self.needs_key = request.upgrade == WEBSOCKET and request.version == b"HTTP/2" and plan.head.get(KEY) is None
        self.balanced = bool(action.hash_policies) or weight.metadata_match is not None
        self.static = (
            not styles.traced
            and not self.needs_key
            and not action.auto_host_rewrite
            and not any(map(depends_on_exchange, (weight.request_headers, *decision.request_edits)))
        )
        self.style: Style = styles.of(decision, weight)
        self.suppress_envoy_headers = styles.suppress_envoy_headers
        self._plan_head = plan.head
        scratch = StreamInfo(0.0, 0.0)
        self.head = self.finish(scratch, ID_MARKER, 1, action.timeout)
        self.original_path = scratch.original_path
        self.chunked = any(name == b"transfer-encoding" for name, _ in self.head.headers)
        self.id_index, self.before, self.after = _cut(self.head)
        self._http2: tuple[bytes, bytes] | None = None

    def finish(
        self, info: StreamInfo, identifier: bytes, attempt: int, timeout: float, hostname: str = ""
    ) -> RequestHead:
        """The head of attempt ``attempt`` of one exchange, for which ``timeout`` seconds are left (0 = no timeout).

        ``hostname`` is the endpoint's, for auto_host_rewrite.
        """
        planned = self._plan_head
        headers = [(name, identifier if value is ID_MARKER else value) for name, value in planned.headers]
        head = RequestHead(planned.method, planned.path, planned.authority, headers, planned.version)
        head.scheme = planned.scheme
        if not self.suppress_envoy_headers:
            policy = None if self.action.hedge_on_per_try_timeout else self.action.retry_policy
            per_try = policy.per_try_timeout if policy is not None else None
            expected = min(timeout or per_try or 0.0, per_try or timeout)
            if expected:
                set_header(headers, TIMEOUT_HEADER, b"%d" % round(expected * 1000))
        if self.duration and is_grpc(head.get(b"content-type")):
            set_header(headers, b"grpc-timeout", grpc_timeout_value(self.duration))
        if self.decision.virtual_host.include_request_attempt_count:
            set_header(headers, ATTEMPT_HEADER, b"%d" % attempt)
        info.request = head
        rewrite.apply_request(
            self.decision, self.weight, head, info, show_original_path=not self.suppress_envoy_headers
        )
        if self.action.auto_host_rewrite and hostname:
            append, show = self.action.append_forwarded_host, not self.suppress_envoy_headers
            rewrite.set_authority(head, hostname.encode(), append_forwarded_host=append, show_original=show)
        head.headers = frame_request(self.framing, head.headers, upgrade=self.upgrade)
        if info.span is not None:
            info.span.inject(head.headers)
        return head

    def http2_head(self, identifier: bytes) -> bytes:
        """The header block of the planned head for HTTP/2, with ``identifier`` where one belongs."""
        parts = self._http2
        if parts is None:
            from isthmus_proxy.http.http2_request_block import planned_block  # noqa: PLC0415 - only where it is used

            parts = self._http2 = planned_block(self.head, self.id_index)
        return b"%b\x24%b%b" % (parts[0], identifier, parts[1]) if self.id_index >= 0 else parts[0]

    def http2_encode(self, head: RequestHead) -> bytes:
        """The header block of a finished head for HTTP/2."""
        from isthmus_proxy.http.http2_request_block import http2_request_block  # noqa: PLC0415 - only where it is used

        return http2_request_block(head)

    def encode(self, head: RequestHead) -> bytes:
        """The bytes of a finished head."""
        return request_head(head.method, head.path, head.authority, head.headers)


def depends_on_exchange(edits: HeaderEdits) -> bool:
    """Whether a header value has format commands."""
    return any(edit.render is not None for edit in edits.add)


def frame_request(request: RequestFraming, headers: Headers, *, upgrade: bool) -> Headers:
    """``headers`` with exactly the framing with which the body will be sent, whatever the edits did."""
    if upgrade and request.upgrade is not None:
        return [*headers, (b"connection", b"upgrade"), (b"upgrade", request.upgrade)]
    lengths = [value for name, value in headers if name == b"content-length"]
    if request.framing == LENGTH and lengths == [b"%d" % request.length]:
        return headers
    if request.framing == NO_BODY and (lengths == [b"0"] or (not lengths and request.method in _NO_BODY_METHODS)):
        return headers
    kept = [field for field in headers if field[0] not in (b"content-length", b"transfer-encoding")]
    if request.framing in (LENGTH, CHUNKED):
        return [*kept, (b"transfer-encoding", b"chunked")]
    return kept if request.method in _NO_BODY_METHODS else [*kept, (b"content-length", b"0")]


def _cut(head: RequestHead) -> tuple[int, bytes, bytes]:
    """(index of the identifier, bytes before it, bytes after it); without one all bytes are before and after is empty."""
    for index, (_, value) in enumerate(head.headers):
        if value is ID_MARKER:
            probe = request_head(head.method, head.path, head.authority, head.headers[:index])
            rest = b"".join([b"%b: %b\r\n" % field for field in head.headers[index + 1 :]])
            return index, probe[:-2] + X_REQUEST_ID + b": ", b"\r\n" + rest + b"\r\n"
    return -1, request_head(head.method, head.path, head.authority, head.headers), b""


def make_plan(
    request: ParsedRequest,
    config: HttpConnectionManagerConfig,
    table: RouteTable | None,
    vantage: Vantage,
    random: float,
    scopes: ScopedRoutes | None = None,
) -> Plan:
    """Decide on ``request``, by ``table``, or by that of its scope. ``random`` in [0, 1) is for runtime fractions."""
    came = arrival(request, config, vantage, ID_MARKER)
    head = came.head
    if scopes is not None:
        table = scopes.table_for(head)
    plan = Plan(table, head)
    if came.client.edge and table is not None and table.configuration.internal_only_headers:
        internal = table.configuration.internal_only_headers
        head.headers = [field for field in head.headers if field[0] not in internal]
    if came.client.detected:
        host = came.client.address.decode("ascii")
        plan.client = f"[{host}]:0" if ":" in host else f"{host}:0"
    plan.reply = _refusal(request, config) or came.reply
    if plan.reply is not None:
        return plan
    plan.decision = table.decide(head, random) if table is not None else None
    if plan.decision is None:
        missing = CONNECT_NOT_ROUTED if request.switches else ROUTE_NOT_FOUND
        plan.reply = ABSOLUTE_PATH_REJECTED if request.path == b"*" else missing
    elif request.switches and not _allows_upgrade(request, config, plan.decision):
        plan.decision, plan.reply = None, UPGRADE_FAILED
    else:
        plan.upgrade = request.switches
        _route(plan, plan.decision)
        if plan.action is not None and came.client.internal:
            plan.action = overridden(plan.action, head)
    return plan


def moved_plan(table: RouteTable, head: RequestHead, decision: Decision, upgrade: bool) -> Plan:
    """The plan for a request that has been here before and goes on to another route (an internal redirect)."""
    plan = Plan(table, head)
    plan.upgrade = upgrade
    _route(plan, decision)
    return plan


def _route(plan: Plan, decision: Decision) -> None:
    plan.decision = decision
    if not isinstance(decision.route.action, ForwardAction):
        return
    plan.action = chosen_by_header(decision.route.action, plan.head)
    if plan.table is not None and plan.table.groups is not None:
        plan.groups = plan.table.groups.of(decision, plan.head)


def chosen_by_header(action: ForwardAction, head: RequestHead) -> ForwardAction:
    """``action`` with the only cluster that is left where a header decides among several."""
    if not action.random_header:
        return action
    values = [value for name, value in head.headers if name == action.random_header]
    weight = pick_by_header(action, values[0] if len(values) == 1 else None)
    return action if weight is None else replace(action, clusters=(weight,), total_weight=weight.weight)


def _refusal(request: ParsedRequest, config: HttpConnectionManagerConfig) -> LocalReply | None:
    if request.refusal:
        return LocalReply(400, request.refusal, close=not config.keep_connection_on_bad_request)
    if request.version == b"HTTP/1.0" and not request.authority and not config.default_host_for_http_10:
        return LocalReply(400, "missing_host_header", close=True)
    if request.scheme and not config.allow_absolute_url:
        return ABSOLUTE_PATH_REJECTED
    return None


def _allows_upgrade(request: ParsedRequest, config: HttpConnectionManagerConfig, decision: Decision) -> bool:
    """Whether ``request`` may switch protocols: its route says so, or says nothing and the connection manager does."""
    kind = b"connect" if request.method == b"CONNECT" else (request.upgrade or b"").lower()
    action = decision.route.action
    if isinstance(action, ForwardAction):
        for name, enabled in action.upgrades:
            if name == kind:
                return enabled
    return kind in config.upgrade_types


def has_fractions(table: RouteTable) -> bool:
    """Whether some decision of ``table`` is drawn by lot, so that it must not be remembered with a head."""
    hosts = table.configuration.virtual_hosts
    return any(route.match.fraction is not None for host in hosts for route in host.routes)
