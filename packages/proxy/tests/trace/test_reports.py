"""Spans as collectors get them: the messages, and the queue that never makes a request wait."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio
import trio.testing
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # type: ignore[import-untyped]

from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.trace import otlp, zipkin
from isthmus_proxy.trace.context import SpanContext
from isthmus_proxy.trace.model import Collector
from isthmus_proxy.trace.reporter import BATCH, FLUSH_SECONDS, Reporter
from isthmus_proxy.trace.span import FinishedSpan

CONTEXT = SpanContext(b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", True, b"b7ad6b7169203330", b"a=b")
SPAN = FinishedSpan(
    CONTEXT, "ingress", 1.5, 1.75, (("http.url", "http://a/ü"), ("long", "x" * 300)), "a", "[::1]:80", error=True
)


def test_otlp_is_what_its_own_classes_read() -> None:
    message = ExportTraceServiceRequest.FromString(otlp.export_request([SPAN, SPAN], "shop"))
    (spans,) = message.resource_spans
    attributes = {each.key: each.value.string_value for each in spans.resource.attributes}
    assert attributes["service.name"] == "shop"
    # The classes at hand are older than the name "scope"; the numbers of the fields are the same.
    (scoped,) = getattr(spans, "scope_spans", None) or spans.instrumentation_library_spans
    assert len(scoped.spans) == 2
    span = scoped.spans[0]
    assert span.trace_id.hex() == CONTEXT.trace_id.decode()
    assert (span.span_id.hex(), span.parent_span_id.hex()) == ("b7ad6b7169203331", "b7ad6b7169203330")
    assert (span.name, span.trace_state, span.kind) == ("ingress", "a=b", 2)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1_500_000_000, 1_750_000_000)
    assert {each.key: each.value.string_value for each in span.attributes} == dict(SPAN.tags)
    assert span.status.code == 2


def test_zipkin() -> None:
    (shown,) = json.loads(zipkin.report([SPAN], "shop", shared=False))
    assert (shown["traceId"], shown["id"], shown["parentId"]) == tuple(
        part.decode() for part in (CONTEXT.trace_id, CONTEXT.span_id, CONTEXT.parent_id)
    )
    assert (shown["timestamp"], shown["duration"], shown["kind"]) == (1_500_000, 250_000, "SERVER")
    assert shown["localEndpoint"] == {"serviceName": "shop", "ipv6": "::1", "port": 80}
    assert shown["tags"] == dict(SPAN.tags)
    assert "shared" not in shown
    assert json.loads(zipkin.report([SPAN], "shop", shared=True))[0]["shared"] is True


class FakeCollector:
    """Takes reports, or does not."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.failure: Exception | None = None
        self.gate: trio.Event | None = None

    async def __call__(self, collector: Collector, body: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.sizes.append(len(json.loads(body)))


class Scene:
    def __init__(self, nursery: trio.Nursery, max_spans: int = 1024) -> None:
        self.stats = StatsStore()
        self.collector = FakeCollector()
        where = Collector("zipkin", "c", "c", "/", timeout=5.0, max_spans=max_spans)
        self.reporter = Reporter(where, self.stats.scope("tracing.zipkin"), self.collector, "shop")
        nursery.start_soon(self.reporter.run)

    def stat(self, name: str) -> int | None:
        return self.stats.value(f"tracing.zipkin.{name}")


@pytest.mark.trio
async def test_spans_wait_for_others_but_not_long(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    scene = Scene(nursery)
    for _ in range(3):
        scene.reporter.add(SPAN)
    await trio.sleep(FLUSH_SECONDS / 2)
    assert scene.collector.sizes == []
    await trio.sleep(FLUSH_SECONDS)
    assert scene.collector.sizes == [3]
    assert (scene.stat("spans_sent"), scene.stat("reports_sent"), scene.stat("timer_flushed")) == (3, 1, 1)
    for _ in range(BATCH):
        scene.reporter.add(SPAN)
    await trio.testing.wait_all_tasks_blocked()
    assert scene.collector.sizes == [3, BATCH]
    scene.reporter.add(SPAN)
    scene.reporter.close()
    await trio.testing.wait_all_tasks_blocked()
    assert scene.collector.sizes == [3, BATCH, 1]


@pytest.mark.trio
async def test_a_collector_that_hangs_costs_spans_and_nothing_else(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    scene = Scene(nursery, max_spans=10)
    scene.collector.gate = trio.Event()
    for _ in range(4):
        scene.reporter.add(SPAN)
    await trio.sleep(FLUSH_SECONDS * 2)
    for _ in range(15):
        scene.reporter.add(SPAN)
    assert scene.stat("reports_dropped") == 5
    await trio.sleep(5.0)
    assert (scene.stat("reports_failed"), scene.stat("reports_dropped")) == (1, 9)
    scene.collector.gate.set()
    await trio.sleep(FLUSH_SECONDS * 2)
    assert scene.collector.sizes == [10]
    scene.reporter.close()


@pytest.mark.trio
@pytest.mark.parametrize(
    ("make", "counter"),
    [(lambda: OSError("refused"), "reports_failed"), (lambda: LookupError("none"), "reports_skipped_no_cluster")],
)
async def test_what_cannot_be_sent_is_counted(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, make: Callable[[], Exception], counter: str
) -> None:
    scene = Scene(nursery)
    scene.collector.failure = make()
    scene.reporter.add(SPAN)
    await trio.sleep(FLUSH_SECONDS * 2)
    assert (scene.stat(counter), scene.stat("reports_dropped"), scene.stat("spans_sent")) == (1, 1, 0)
    scene.collector.failure = None
    scene.reporter.add(SPAN)
    await trio.sleep(FLUSH_SECONDS * 2)
    assert scene.stat("spans_sent") == 1
    scene.reporter.close()
