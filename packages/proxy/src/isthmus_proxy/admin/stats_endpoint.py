"""``/stats`` and ``/stats/prometheus``."""

from __future__ import annotations

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

    return (
        Endpoint("/stats", "print server stats", stats, parameters=_PARAMETERS),
        Endpoint(
            "/stats/prometheus", "print server stats in prometheus format", only_prometheus, parameters=_PARAMETERS[:2]
        ),
    )


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
