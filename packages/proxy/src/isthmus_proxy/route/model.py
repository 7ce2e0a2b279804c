"""Compiled route configuration: immutable values that matching and the router read. Built by ``config.route``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """One header to add (config.core.v3.HeaderValueOption). ``value`` is a format string with Envoy's operators."""

    name: bytes
    value: bytes
    append_action: str = "APPEND_IF_EXISTS_OR_ADD"


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Header mutations of one level (weighted cluster, route, virtual host or route configuration)."""

    add: tuple[HeaderEdit, ...] = ()
    remove: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """config.route.v3.RetryPolicy. Durations in seconds; ``per_try_timeout`` None = not set."""

    retry_on: frozenset[str]
    num_retries: int = 1
    per_try_timeout: float | None = None
    retriable_status_codes: frozenset[int] = frozenset()
    base_interval: float = 0.025
    max_interval: float = 0.25
    avoid_previous_hosts: bool = False
    host_selection_attempts: int = 1


@dataclass(frozen=True, slots=True)
class ClusterWeight:
    """One target of a route. A route to a single cluster has exactly one, of weight 1."""

    cluster: str
    weight: int = 1
    request_headers: HeaderEdits = field(default_factory=HeaderEdits)
    response_headers: HeaderEdits = field(default_factory=HeaderEdits)


@dataclass(frozen=True, slots=True)
class ForwardAction:
    """config.route.v3.RouteAction: send the request to one of ``clusters``. ``timeout`` in seconds, 0 = none."""

    clusters: tuple[ClusterWeight, ...]
    total_weight: int
    timeout: float = 15.0
    idle_timeout: float | None = None
    retry_policy: RetryPolicy | None = None
    prefix_rewrite: bytes | None = None
    regex_rewrite: tuple[str, str] | None = None  # (RE2 pattern, substitution)
    host_rewrite: bytes | None = None
    auto_host_rewrite: bool = False
    cluster_not_found_status: int = 503
    matched_prefix: bytes = b""  # what prefix_rewrite replaces: the matched prefix or whole path


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
    strip_query: bool = False
    matched_prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class DirectResponseAction:
    """config.route.v3.DirectResponseAction."""

    status: int
    body: bytes = b""


Action = ForwardAction | RedirectAction | DirectResponseAction


@dataclass(frozen=True, slots=True)
class StringMatch:
    """One string condition. ``kind`` is exact, prefix, suffix, contains, regex (full match) or present."""

    kind: str
    value: bytes = b""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """config.route.v3.HeaderMatcher. ``range`` is half-open; pseudo-headers are ``:method``, ``:authority``, ``:path``."""

    name: bytes
    match: StringMatch | None = None
    range: tuple[int, int] | None = None
    invert: bool = False
    treat_missing_as_empty: bool = False


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """config.route.v3.QueryParameterMatcher."""

    name: bytes
    match: StringMatch


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """config.route.v3.RouteMatch. ``path.kind`` is exact, prefix, path_separated_prefix or regex."""

    path: StringMatch
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    fraction: tuple[int, int] | None = None  # numerator, denominator of runtime_fraction.default_value
    grpc: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A match and what to do. Header edits are those of the route itself."""

    match: RouteMatch
    action: Action
    name: str = ""
    request_headers: HeaderEdits = field(default_factory=HeaderEdits)
    response_headers: HeaderEdits = field(default_factory=HeaderEdits)


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


@dataclass(frozen=True, slots=True)
class Decision:
    """What a route table says of one request: the same for every request that reads alike to the table."""

    virtual_host: VirtualHost
    route: Route
    configuration: RouteConfiguration
