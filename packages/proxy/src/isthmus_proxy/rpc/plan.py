"""What becomes of a request, worked out once for all requests that read alike: route, cluster, time-out, edits."""

from __future__ import annotations

from isthmus_proxy.cluster.context import LoadBalancerContext
from isthmus_proxy.codec.rpc import RpcRequest
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.plan import chosen_by_header
from isthmus_proxy.http.retry import RetryRules, retry_rules
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.hash_policy import Client, hash_request
from isthmus_proxy.route.hash_policy_model import HashPolicy, HeaderHash
from isthmus_proxy.route.matcher import names_read
from isthmus_proxy.route.model import ClusterWeight, Decision, DirectResponseAction, ForwardAction, HeaderEdits
from isthmus_proxy.route.table import RouteTable
from isthmus_proxy.rpc.stats import MethodStats

NO_ROUTE = 404
NOT_FORWARDABLE = 501
_ANYBODY = Client("", "", "")


class RpcPlan:
    """``reply`` is the HTTP status of the answer made here, 0 if the request goes to a cluster of ``action``.

    ``apart``: requests go one by one, since something is done with each; ``edited``: the route changes their headers. ``plain``: load
    balancing has nothing to regard. ``retains``: the frame of a request may be needed once it is sent. ``weight`` is the cluster if
    there is only one. ``timeout`` and ``per_try`` in seconds, 0 = none.
    """

    __slots__ = (
        "_contexts", "action", "apart", "decision", "edited", "head", "per_try", "plain", "reply", "retains", "retry", "stats", "timeout",
        "weight",
    )  # fmt: skip

    def __init__(self, head: RequestHead, decision: Decision | None, stats: MethodStats, *, logged: bool) -> None:
        self.head = head
        self.decision = decision
        self.stats = stats
        self.action: ForwardAction | None = None
        self.weight: ClusterWeight | None = None
        self.timeout = 0.0
        self.per_try = 0.0
        self.retry: RetryRules | None = None
        self.edited = False
        self.apart = False
        self.plain = True
        self.reply = NO_ROUTE if decision is None else 0
        self._contexts: dict[ClusterWeight, LoadBalancerContext | None] = {}
        if decision is not None:
            self._follow(decision)
        self.retains = logged or self.retry is not None

    def _follow(self, decision: Decision) -> None:
        action = decision.route.action
        if isinstance(action, ForwardAction):
            action = self.action = chosen_by_header(action, self.head)
            self.timeout = action.timeout
            self.edited = bool(decision.request_edits) or any(each.request_headers for each in action.clusters)
            self.plain = not action.hash_policies and all(each.metadata_match is None for each in action.clusters)
            if len(action.clusters) == 1:
                self.weight = action.clusters[0]
            if action.retry_policy is not None:
                self.retry = retry_rules(action.retry_policy)
                self.per_try = action.retry_policy.per_try_timeout or 0.0
            self.apart = self.edited or bool(action.mirrors)
        else:
            self.reply = action.status if isinstance(action, DirectResponseAction) else NOT_FORWARDABLE

    def cluster_name(self, weight: ClusterWeight) -> str:
        """The cluster of a target of the route."""
        return weight.cluster or (self.head.get(weight.cluster_header) or b"").decode("utf-8", "replace")

    def context(self, weight: ClusterWeight) -> LoadBalancerContext | None:
        """What the choice of an endpoint has to regard: hash and subset. The same for all requests of the plan."""
        if weight in self._contexts:
            return self._contexts[weight]
        key = None
        policies = () if self.action is None else tuple(filter(_by_header, self.action.hash_policies))
        if policies:
            key, _ = hash_request(policies, self.head, _ANYBODY)
        context = None
        if key is not None or weight.metadata_match is not None:
            context = LoadBalancerContext(hash_key=key, criteria=weight.metadata_match)
        self._contexts[weight] = context
        return context

    def edit(self, cluster: str, headers: list[tuple[bytes, bytes]], info: StreamInfo) -> None:
        """Apply the header edits of the route and of ``cluster`` to ``headers``, whose names keep their spelling."""
        if self.action is None or self.decision is None:
            return
        own = [each.request_headers for each in self.action.clusters if self.cluster_name(each) == cluster]
        for edits in (*own[:1], *self.decision.request_edits):
            apply_edits(edits, headers, info)


def _by_header(policy: HashPolicy) -> bool:
    """Whether ``policy`` hashes something that RPC requests have."""
    return isinstance(policy, HeaderHash)


def apply_edits(edits: HeaderEdits, headers: list[tuple[bytes, bytes]], info: StreamInfo) -> None:
    """Change ``headers`` as ``edits`` say. A name is found in any case; a new one is spelt as configured."""
    for name in edits.remove:
        headers[:] = [field for field in headers if field[0].lower() != name]
    for edit in edits.add:
        value = edit.value if edit.render is None else edit.render(info)
        if not value and not edit.keep_empty_value:
            continue
        present = [index for index, field in enumerate(headers) if field[0].lower() == edit.name]
        if edit.append_action == "ADD_IF_ABSENT" and present:
            continue
        if edit.append_action == "OVERWRITE_IF_EXISTS" and not present:
            continue
        # A header is a map: a second value under the same name would hide the first, so appending replaces.
        if present:
            headers[present[0]] = (headers[present[0]][0], value)
        else:
            headers.append((edit.name, value))


def request_head(request: RpcRequest) -> RequestHead:
    """A request as routes see it: service = authority, method = path, headers by lower-case names."""
    headers = [(name.lower(), value) for name, value in request.headers]
    return RequestHead(b"POST", b"/" + request.method, request.service, headers, b"")


def asked_timeout(head: RequestHead, name: bytes) -> float:
    """The time-out that header ``name`` asks for in milliseconds, as seconds; 0 if it does not."""
    value = head.get(name) or b""
    return int(value) / 1000.0 if value.isdigit() and len(value) <= 9 else 0.0


def names_of(table: RouteTable, timeout_header: bytes = b"") -> frozenset[bytes]:
    """The headers, in lower case, on which a plan of ``table`` may depend, besides service and method."""
    names = {timeout_header}
    for host in table.configuration.virtual_hosts:
        for route in host.routes:
            names |= names_read(route.match)
            action = route.action
            if not isinstance(action, ForwardAction):
                continue
            names |= {weight.cluster_header for weight in action.clusters}
            names |= {mirror.cluster_header for mirror in action.mirrors}
            names |= {policy.name for policy in action.hash_policies if isinstance(policy, HeaderHash)}
            names.add(action.random_header)
            if action.retry_policy is not None:
                names |= {match.name for match in action.retry_policy.request_headers}
    return frozenset(name for name in names if name and not name.startswith(b":"))
