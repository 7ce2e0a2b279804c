"""``/stats``, ``/stats/prometheus``, ``/reset_counters`` and ``/memory``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, Endpoint, text
from isthmus_proxy.observe import prometheus, stats_text
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.observe.stats_query import CUMULATIVE, DETAILED, DISJOINT, KINDS, SUMMARY, StatsQuery

_PARAMETERS = (
    ("usedonly", "Only include stats that have been written by system since restart"),
    ("filter", "Regular expression for filtering stats by name"),
    ("format", "Format to use; One of (text, json, prometheus)"),
    ("type", "Stat types to include; One of (All, Counters, Gauges, Histograms, TextReadouts)"),
    ("histogram_buckets", "Histogram display mode; One of (cumulative, disjoint, detailed, summary)"),
    ("text_readouts", "Render text readouts as gauges with a label, in Prometheus text"),
)
_USAGE = "usage: /stats?format=(json|prometheus|text)\n\n"
_BUCKETS = ("", SUMMARY, CUMULATIVE, DISJOINT, DETAILED)
_BUCKETS_USAGE = "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n"


def endpoints(store: StatsStore, refresh: Callable[[], None]) -> tuple[Endpoint, ...]:
    """The endpoints; ``refresh`` brings gauges that are computed on reading up to date."""

    def stats(request: AdminRequest) -> AdminResponse:
        return _respond(store, refresh, request, request.query.get("format", "text"))

    def only_prometheus(request: AdminRequest) -> AdminResponse:
        return _respond(store, refresh, request, "prometheus")

    def memory(_request: AdminRequest) -> AdminResponse:
        refresh()
        return AdminResponse(200, (json.dumps(_memory(store), indent=1), "\n"), JSON)

    def reset(_request: AdminRequest) -> AdminResponse:
        store.reset_counters()
        return text("OK\n")

    only = tuple(each for each in _PARAMETERS if each[0] != "format")
    return (
        Endpoint("/memory", "print current allocation/heap usage", memory),
        Endpoint("/reset_counters", "reset all counters to zero", reset, mutates=True),
        Endpoint("/stats", "print server stats", stats, parameters=_PARAMETERS),
        Endpoint("/stats/prometheus", "print server stats in prometheus format", only_prometheus, parameters=only),
    )


def _memory(store: StatsStore) -> dict[str, str]:
    """Envoy's names, numbers as texts as there. What Python's allocator keeps for later cannot be told apart: it reads 0."""
    allocated = str(store.value("server.memory_allocated") or 0)
    physical = str(store.value("server.memory_physical_size") or 0)
    unknown = dict.fromkeys(("pageheap_unmapped", "pageheap_free", "total_thread_cache"), "0")
    return {"allocated": allocated, "heap_size": allocated, **unknown, "total_physical_bytes": physical}


def _respond(store: StatsStore, refresh: Callable[[], None], request: AdminRequest, kind: str) -> AdminResponse:
    if kind not in _FORMATS:
        return text(_USAGE, 400)
    query = _query(request)
    if isinstance(query, AdminResponse):
        return query
    if kind == "prometheus" and query.buckets in (DISJOINT, DETAILED):
        return text("unsupported prometheus histogram bucket mode", 400)
    refresh()
    return AdminResponse(200, _FORMATS[kind](store, query), JSON if kind == "json" else "text/plain; charset=UTF-8")


_FORMATS: dict[str, Callable[[StatsStore, StatsQuery], Iterator[str]]] = {
    "": stats_text.render_text,
    "text": stats_text.render_text,
    "json": stats_text.render_json,
    "prometheus": prometheus.render,
}


def _query(request: AdminRequest) -> StatsQuery | AdminResponse:
    """What is asked for, or the answer to a question that has none."""
    given = request.query
    wanted: re.Pattern[str] | None = None
    if given.get("filter"):
        try:
            wanted = re.compile(given["filter"])
        except re.error as error:
            return text(f"Invalid regex: {error}\n", 400)
    kind, buckets = given.get("type", "All"), given.get("histogram_buckets", "")
    if kind != "All" and kind not in KINDS:
        return text("invalid &type= param", 400)
    buckets = "" if buckets == "none" else buckets
    if buckets not in _BUCKETS:
        return text(_BUCKETS_USAGE, 400)
    used, texts = request.flag("usedonly"), request.flag("text_readouts")
    return StatsQuery(wanted, used, KINDS.get(kind), buckets, texts)
