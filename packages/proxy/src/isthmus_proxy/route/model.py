"""Compiled route configuration: immutable values that matching and the router read. Built by ``config.route``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from isthmus_proxy.cluster.metadata import Criteria
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.filter_overrides import FilterOverrides
from isthmus_proxy.route.hash_policy_model import HashPolicy
from isthmus_proxy.route.uri_template import TemplateRewrite
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.trace.model import RouteTracing

if TYPE_CHECKING:
    from isthmus_proxy.ratelimit.descriptors import RateLimit

AppendAction = Literal["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"]


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """One header to add (config.core.v3.HeaderValueOption). ``append_action`` is the name of the enum value.

    ``value`` is the format string as configured. ``render`` makes the value for one exchange; None when it is constant.
    """

    name: bytes
    value: bytes
    append_action: AppendAction = "APPEND_IF_EXISTS_OR_ADD"
    keep_empty_value: bool = False
    render: Callable[[StreamInfo], bytes] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Header mutations of one level (weighted cluster, route, virtual host or route configuration)."""

    add: tuple[HeaderEdit, ...] = ()
    remove: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


@dataclass(frozen=True, slots=True)
class StringMatch:
    """One string condition (type.matcher.v3.StringMatcher). A regex matches the whole string; ``present`` anything.

    ``connect`` is the path of a CONNECT request, which has none (RouteMatch.ConnectMatcher).

    With ``ignore_case`` the value is lower case already; it does not apply to a regex.
    """

    kind: Literal[
        "exact", "prefix", "suffix", "contains", "regex", "present", "path_separated_prefix", "template", "connect"
    ]
    value: bytes = b""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """config.route.v3.HeaderMatcher. ``range`` is half-open; pseudo-headers are ``:method``, ``:authority``, ``:path``.

    ``present`` False asks for absence; it counts only where ``match`` and ``range`` are None.
    """

    name: bytes
    match: StringMatch | None = None
    present: bool = True
    range: tuple[int, int] | None = None
    invert: bool = False
    treat_missing_as_empty: bool = False


@dataclass(frozen=True, slots=True)
class RateLimitedBackOff:
    """RetryPolicy.RateLimitedRetryBackOff: response headers that say when to come back, each ``SECONDS`` or ``UNIX_TIMESTAMP``."""

    reset_headers: tuple[tuple[bytes, str], ...]
    max_interval: float = 300.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """config.route.v3.RetryPolicy. Durations in seconds; a time-out of None is not set.

    ``base_interval`` None is 25 ms or what the run-time key upstream.base_retry_backoff_ms says; ``max_interval`` None is ten
    times that. ``omit_metadata`` are names and values of envoy.lb that an endpoint must not all have (omit_host_metadata,
    omit_canary_hosts). With ``request_headers`` only requests that one of them matches are retried.
    ``priority_frequency`` is the update_frequency of previous_priorities, 0 without it.
    """

    retry_on: frozenset[str]
    num_retries: int = 1
    per_try_timeout: float | None = None
    per_try_idle_timeout: float | None = None
    retriable_status_codes: frozenset[int] = frozenset()
    retriable_headers: tuple[HeaderMatch, ...] = ()
    request_headers: tuple[HeaderMatch, ...] = ()
    base_interval: float | None = None
    max_interval: float | None = None
    rate_limited: RateLimitedBackOff | None = None
    avoid_previous_hosts: bool = False
    omit_metadata: tuple[tuple[tuple[str, object], ...], ...] = ()
    host_selection_attempts: int = 1
    priority_frequency: int = 0


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """RouteAction.RequestMirrorPolicy. The cluster is ``cluster``, or what the header ``cluster_header`` says."""

    cluster: str
    cluster_header: bytes = b""
    fraction: Fraction | None = None
    append_suffix: bool = True
    host_rewrite: bytes = b""
    edits: HeaderEdits = field(default_factory=HeaderEdits)


@dataclass(frozen=True, slots=True)
class InternalRedirectPolicy:
    """config.route.v3.InternalRedirectPolicy: which redirects of upstreams are followed instead of shown to the client.

    The route that a redirect leads to must be in each of ``allowed_routes``. ``refuse_previous_routes`` follows none from and to the same
    routes a second time; ``refuse_downgrade_of_trust`` none from plain text to TLS.
    """

    max_redirects: int = 1
    codes: frozenset[int] = frozenset({302})
    allow_cross_scheme: bool = False
    headers_to_copy: tuple[bytes, ...] = ()
    allowed_routes: tuple[frozenset[str], ...] = ()
    refuse_previous_routes: bool = False
    refuse_downgrade_of_trust: bool = False


@dataclass(frozen=True, slots=True)
class ClusterWeight:
    """One target of a route. A route to a single cluster has exactly one, of weight 1.

    Without ``cluster`` the first value of the request header ``cluster_header`` names it. ``runtime_key`` may override the
    weight.
    """

    cluster: str
    weight: int = 1
    request_headers: HeaderEdits = field(default_factory=HeaderEdits)
    response_headers: HeaderEdits = field(default_factory=HeaderEdits)
    cluster_header: bytes = b""
    host_rewrite: bytes = b""
    runtime_key: str = ""
    metadata_match: Criteria | None = None  # the route's merged with the cluster's; None if neither asks for a subset
    filters: FilterOverrides = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class RegexRewrite:
    """type.matcher.v3.RegexMatchAndSubstitute: every match in the path, without its query, is substituted."""

    pattern: bytes
    substitution: bytes


@dataclass(frozen=True, slots=True)
class ForwardAction:
    """config.route.v3.RouteAction: send the request to one of ``clusters``. ``timeout`` in seconds, 0 = none.

    ``priority`` (0 default, 1 high) says whose circuit breakers count.
    """

    clusters: tuple[ClusterWeight, ...]
    total_weight: int
    timeout: float = 15.0
    timeout_status: int = 504
    idle_timeout: float | None = None
    retry_policy: RetryPolicy | None = None
    prefix_rewrite: bytes | None = None
    regex_rewrite: RegexRewrite | None = None
    template_rewrite: TemplateRewrite | None = None
    host_rewrite: bytes | None = None
    host_rewrite_header: bytes = b""
    host_rewrite_path_regex: RegexRewrite | None = None
    auto_host_rewrite: bool = False
    append_forwarded_host: bool = False
    priority: int = 0
    hash_policies: tuple[HashPolicy, ...] = ()
    cluster_not_found_status: int = 503
    random_header: bytes = b""  # weighted_clusters.header_name: its value chooses among the clusters
    weights_by_hash: bool = False  # weighted_clusters.use_hash_policy: so does the hash of ``hash_policies``
    max_stream_duration: float | None = None
    max_grpc_timeout: float | None = None  # of max_stream_duration: how much grpc-timeout may ask for, 0 = anything
    grpc_timeout_offset: float = 0.0
    hedge_on_per_try_timeout: bool = False
    mirrors: tuple[MirrorPolicy, ...] = ()
    buffer_limit: int | None = None  # bytes of a request body kept for a retry
    internal_redirect: InternalRedirectPolicy | None = None
    upgrades: tuple[tuple[bytes, bool], ...] = ()  # lower-case types that the route itself allows or forbids
    terminates_connect: bool = False  # connect_config: the tunnel ends here, its bytes go to a TCP connection
    rate_limits: tuple[RateLimit, ...] = ()
    include_vh_rate_limits: bool = False  # those of the virtual host count, too


@dataclass(frozen=True, slots=True)
class RedirectAction:
    """config.route.v3.RedirectAction."""

    status: int = 301
    host: bytes | None = None
    port: int | None = None
    scheme: bytes | None = None
    https: bool = False
    path: bytes | None = None
    prefix_rewrite: bytes | None = None
    regex_rewrite: RegexRewrite | None = None
    strip_query: bool = False
    keep_port: bool = False  # even the default port of the old scheme


@dataclass(frozen=True, slots=True)
class DirectResponseAction:
    """config.route.v3.DirectResponseAction. ``render`` makes the body of one exchange where body_format has commands."""

    status: int
    body: bytes = b""
    content_type: bytes = b""
    render: Callable[[StreamInfo], bytes] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class NonForwardingAction:
    """config.route.v3.NonForwardingAction: for servers that do not forward; a proxy cannot serve such a route."""


Action = ForwardAction | RedirectAction | DirectResponseAction | NonForwardingAction


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """config.route.v3.QueryParameterMatcher. ``present`` False asks for absence; it counts only where ``match`` is present."""

    name: bytes
    match: StringMatch
    present: bool = True


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """config.route.v3.RouteMatch. ``path.kind`` is exact, prefix, path_separated_prefix, regex, template, or connect.

    The value of a template (path_match_policy) is the regular expression that it compiles to.
    """

    path: StringMatch
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    fraction: Fraction | None = None
    grpc: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A match and what to do. Header edits are those of the route itself."""

    match: RouteMatch
    action: Action
    name: str = ""
    request_headers: HeaderEdits = field(default_factory=HeaderEdits)
    response_headers: HeaderEdits = field(default_factory=HeaderEdits)
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)  # filter_metadata by namespace
    stat_prefix: str = ""
    filters: FilterOverrides = field(default_factory=dict, hash=False)
    tracing: RouteTracing | None = None
    operation: str = ""  # decorator: the name of its spans


@dataclass(frozen=True, slots=True)
class VirtualCluster:
    """config.route.v3.VirtualCluster: requests that all of ``headers`` match are counted together."""

    name: str
    headers: tuple[HeaderMatch, ...]


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """config.route.v3.VirtualHost. ``domains`` are lower case: exact, ``*.suffix``, ``prefix.*`` or ``*``."""

    name: str
    domains: tuple[bytes, ...]
    routes: tuple[Route, ...]
    request_headers: HeaderEdits = field(default_factory=HeaderEdits)
    response_headers: HeaderEdits = field(default_factory=HeaderEdits)
    include_request_attempt_count: bool = False
    include_attempt_count_in_response: bool = False
    include_is_timeout_retry_header: bool = False
    require_tls: Literal["NONE", "EXTERNAL_ONLY", "ALL"] = "NONE"
    virtual_clusters: tuple[VirtualCluster, ...] = ()
    filters: FilterOverrides = field(default_factory=dict, hash=False)
    rate_limits: tuple[RateLimit, ...] = ()  # of routes that have none of their own


@dataclass(frozen=True, slots=True)
class RouteConfiguration:
    """config.route.v3.RouteConfiguration. ``content`` is the hash of its message."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    content: str = ""
    request_headers: HeaderEdits = field(default_factory=HeaderEdits)
    response_headers: HeaderEdits = field(default_factory=HeaderEdits)
    most_specific_header_mutations_wins: bool = False
    ignore_port_in_host_matching: bool = False
    internal_only_headers: frozenset[bytes] = frozenset()  # removed from requests that come from outside
    ignore_path_parameters: bool = (
        False  # ignore_path_parameters_in_path_matching: what follows a semicolon does not count
    )
    validate_clusters: bool = False  # refuse the configuration at load when a cluster is missing
    filters: FilterOverrides = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a route table says of one request: the same object for every request that reads alike to the table.

    ``request_edits`` and ``response_edits`` are the header edits of route, virtual host and route configuration that are
    not empty, in the order in which they apply. Those of a weighted cluster come with the ``ClusterWeight``.
    """

    virtual_host: VirtualHost
    route: Route
    configuration: RouteConfiguration
    request_edits: tuple[HeaderEdits, ...] = ()
    response_edits: tuple[HeaderEdits, ...] = ()
