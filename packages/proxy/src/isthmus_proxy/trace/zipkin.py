"""Spans as Zipkin's JSON (API v2), with Envoy's fields."""

from __future__ import annotations

import json
from collections.abc import Iterable

from isthmus_proxy.trace.span import FinishedSpan


def report(spans: Iterable[FinishedSpan], service_name: str, *, shared: bool) -> bytes:
    """The list that reports ``spans`` of the service, which are the clients', too, where they are ``shared``."""
    return json.dumps([span(each, service_name, shared=shared) for each in spans], separators=(",", ":")).encode()


def span(finished: FinishedSpan, service_name: str, *, shared: bool) -> dict[str, object]:
    """One span; times in microseconds."""
    context = finished.context
    started, ended = int(finished.started * 1e6), int(finished.ended * 1e6)
    host, _, port = finished.local.rpartition(":")
    address = {"ipv6" if ":" in host else "ipv4": host.strip("[]")} if host else {}
    shown: dict[str, object] = {
        "traceId": context.trace_id.decode(),
        "id": context.span_id.decode(),
        "name": finished.name,
        "kind": "SERVER",
        "timestamp": started,
        "duration": max(ended - started, 1),
        "localEndpoint": {"serviceName": service_name, **address, "port": int(port) if port.isdigit() else 0},
        "annotations": [{"timestamp": ended, "value": "ss"}],
        "tags": dict(finished.tags),
    }
    if shared:
        shown["shared"] = True
    if context.parent_id:
        shown["parentId"] = context.parent_id.decode()
    return shown
