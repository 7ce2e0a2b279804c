"""``/stats``, ``/stats/prometheus`` and ``/memory``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, Endpoint, text
from isthmus_proxy.observe import prometheus, stats_text
from isthmus_proxy.observe.stats import StatsStore

_PARAMETERS = (
    ("usedonly", "Only include stats that have been written by system since restart"),
    ("filter", "Regular expression for filtering stats by name"),
    ("format", "Format to use; One of (text, json, prometheus)"),
)
_USAGE = "usage: /stats?format=(json|prometheus|text)\n\n"


def endpoints(store: StatsStore, refresh: Callable[[], None]) -> tuple[Endpoint, ...]:
    """The endpoints; ``refresh`` brings gauges that are computed on reading up to date."""

    def stats(request: AdminRequest) -> AdminResponse:
        return _respond(store, refresh, request, request.query.get("format", "text"))

    def only_prometheus(request: AdminRequest) -> AdminResponse:
        return _respond(store, refresh, request, "prometheus")

    def memory(_request: AdminRequest) -> AdminResponse:
        refresh()
        return AdminResponse(200, (json.dumps(_memory(store), indent=1), "\n"), JSON)

    return (
        Endpoint("/memory", "print current allocation/heap usage", memory),
        Endpoint("/stats", "print server stats", stats, parameters=_PARAMETERS),
        Endpoint(
            "/stats/prometheus", "print server stats in prometheus format", only_prometheus, parameters=_PARAMETERS[:2]
        ),
    )


def _memory(store: StatsStore) -> dict[str, str]:
    """Envoy's names, numbers as texts as there. What Python's allocator keeps for later cannot be told apart: it reads 0."""
    allocated = str(store.value("server.memory_allocated") or 0)
    physical = str(store.value("server.memory_physical_size") or 0)
    unknown = dict.fromkeys(("pageheap_unmapped", "pageheap_free", "total_thread_cache"), "0")
    return {"allocated": allocated, "heap_size": allocated, **unknown, "total_physical_bytes": physical}


def _respond(store: StatsStore, refresh: Callable[[], None], request: AdminRequest, kind: str) -> AdminResponse:
    wanted: re.Pattern[str] | None = None
    if request.query.get("filter"):
        try:
            wanted = re.compile(request.query["filter"])
        except re.error as error:
            return text(f"Invalid regex: {error}\n", 400)
    render: dict[str, Callable[..., Iterator[str]]] = {
        "": stats_text.render_text,
        "text": stats_text.render_text,
        "json": stats_text.render_json,
        "prometheus": prometheus.render,
    }
    if kind not in render:
        return text(_USAGE, 400)
    refresh()
    body = render[kind](store, wanted=wanted, used_only=request.flag("usedonly"))
    return AdminResponse(200, body, JSON if kind == "json" else "text/plain; charset=UTF-8")
