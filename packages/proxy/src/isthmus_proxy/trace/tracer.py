"""The tracer of one connection manager: begins the span of a request, and hands it over when the request is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.route.model import Route
from isthmus_proxy.runtime import Runtime
from isthmus_proxy.trace.context import B3, W3C, BadContextError, SpanContext, from_b3, from_w3c
from isthmus_proxy.trace.model import Collector, CustomTag, TracingConfig
from isthmus_proxy.trace.sampling import Reason, decide
from isthmus_proxy.trace.span import FinishedSpan, Span, Tags

_COUNTERS = {
    Reason.NOT_TRACEABLE: "not_traceable",
    Reason.SAMPLING: "random_sampling",
    Reason.SERVICE_FORCED: "service_forced",
    Reason.CLIENT_FORCED: "client_enabled",
}


class Tracer:
    """``report`` takes finished spans that are sampled, until ``release``. ``node_id`` is the proxy's; randomness is passed in."""

    __slots__ = (
        "_common",
        "_config",
        "_counters",
        "_getrandbits",
        "_health_checks",
        "_random",
        "_release",
        "_report",
        "_runtime",
        "_scope",
    )

    def __init__(
        self,
        config: TracingConfig,
        scope: StatsScope,
        runtime: Runtime,
        report: Callable[[FinishedSpan], None],
        release: Callable[[], None],
        *,
        node_id: str,
        zone: str,
        random: Callable[[], float],
        getrandbits: Callable[[int], int],
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._report = report
        self._release = release
        self._scope = scope
        self._random = random
        self._getrandbits = getrandbits
        self._counters = {reason: scope.counter(name) for reason, name in _COUNTERS.items()}
        self._health_checks = scope.counter("health_check")
        zone_tag = (("zone", zone),) if zone or config.collector.kind != "zipkin" else ()
        self._common: Tags = (("node_id", node_id), *zone_tag)

    def begin(
        self,
        info: StreamInfo,
        head: RequestHead,
        identifier: bytes,
        route: Route | None,
        parent: SpanContext | None = None,
    ) -> bytes:
        """Give the exchange of ``info`` its span, if its context can be read. Answer its identifier, which may have changed.

        ``parent`` is the context where others than the headers that the collector knows tell it.
        """
        own = route.tracing if route is not None else None
        reason, identifier = decide(own or self._config, head, identifier, self._runtime, self._random())
        self._counters[reason].value += 1
        try:
            context = self._context(head, parent, sampled=reason is not Reason.NOT_TRACEABLE)
        except BadContextError:
            return identifier  # Envoy, too, leaves alone what it does not understand
        name = self._name(head)
        if route is not None and route.operation:
            name = route.operation
        tags = self._tags(info, head, identifier)
        if own is not None:
            tags = (*tags, *_custom(own.custom_tags, head))
        info.span = Span(context, name, tags, identifier)
        return identifier

    def log(self, info: StreamInfo) -> None:
        """An exchange is over: report its span if it is sampled."""
        if info.health_check:
            self._health_checks.value += 1
        span = info.span
        if not isinstance(span, Span) or not span.context.sampled:
            return
        self._report(finished(span, info))

    def close(self) -> None:
        """Give its stats and its reporter back."""
        self._scope.close()
        self._release()

    def _context(self, head: RequestHead, parent: SpanContext | None, *, sampled: bool) -> SpanContext:
        collector = self._config.collector
        if parent is None:
            parent = (from_b3 if collector.kind == "zipkin" else from_w3c)(head.headers)
        if parent is None or not parent.trace_id:
            return self._root(collector, parent, sampled=sampled)
        if parent.sampled is None:
            parent = replace(parent, sampled=sampled)
        if collector.kind == "zipkin" and collector.shared_span_context:
            return parent
        return replace(parent, span_id=self._identifier(64), parent_id=parent.span_id)

    def _root(self, collector: Collector, parent: SpanContext | None, *, sampled: bool) -> SpanContext:
        if parent is not None and parent.sampled is not None:
            sampled = parent.sampled
        if collector.kind != "zipkin":
            return SpanContext(self._identifier(128), self._identifier(64), sampled, form=W3C)
        span_id = self._identifier(64)
        trace_id = self._identifier(64) + span_id if collector.trace_id_128bit else span_id
        return SpanContext(trace_id, span_id, sampled, form=parent.form if parent is not None else B3)

    def _identifier(self, bits: int) -> bytes:
        # All zeros is no identifier (W3C Trace Context, 3.2.2).
        return b"%0*x" % (bits // 4, self._getrandbits(bits) or 1)

    def _name(self, head: RequestHead) -> str:
        host = head.authority.decode("latin-1")
        if self._config.collector.kind == "zipkin":
            return host
        return f"egress {host}" if self._config.egress else "ingress"

    def _tags(self, info: StreamInfo, head: RequestHead, identifier: bytes) -> Tags:
        """What Envoy tells of the request; its body's size follows at the end."""
        path = head.path[: self._config.max_path_tag_length]
        url = b"%b://%b%b" % (head.scheme, head.authority, path)
        client = head.get(b"x-client-trace-id")
        client_tag = () if client is None else (("guid:x-client-trace-id", _text(client)),)
        return (
            *self._common,
            ("guid:x-request-id", _text(identifier)),
            ("http.url", _text(url)),
            ("http.method", _text(head.method)),
            ("downstream_cluster", _text(head.get(b"x-envoy-downstream-service-cluster") or b"-")),
            ("user_agent", _text(head.get(b"user-agent") or b"-")),
            ("http.protocol", info.protocol),
            ("peer.address", _ip(info.downstream_direct_remote)),
            *client_tag,
            *_custom(self._config.custom_tags, head),
        )


def _custom(tags: tuple[CustomTag, ...], head: RequestHead) -> Tags:
    found: list[tuple[str, str]] = []
    for custom in tags:
        value = head.get(custom.header) if custom.header else None
        text = custom.value if value is None else _text(value)
        if text:
            found.append((custom.tag, text))
    return tuple(found)


def finished(span: Span, info: StreamInfo) -> FinishedSpan:
    """The span of an exchange that is over."""
    seconds = (info.ended_at or info.started_at) - info.started_at
    error = info.status >= 500 or not info.status
    tags = (
        *span.tags,
        ("request_size", str(info.bytes_received)),
        ("response_size", str(info.bytes_sent)),
        ("component", "proxy"),
        *(_upstream(info.upstream_cluster) if info.upstream_cluster else ()),
        ("http.status_code", str(info.status)),
        ("response_flags", ",".join(info.flags) or "-"),
        *((("error", "true"),) if error else ()),
    )
    host = dict(span.tags).get("http.url", "").partition("://")[2].partition("/")[0]
    return FinishedSpan(
        span.context, span.name, info.start_time, info.start_time + seconds, tags, host, info.downstream_local, error
    )


def _upstream(cluster: str) -> Tags:
    return (("upstream_cluster", cluster), ("upstream_cluster.name", cluster))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _ip(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
