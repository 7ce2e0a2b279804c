"""``/runtime`` and ``/runtime_modify``: show the run-time layer and change its admin layer."""

from __future__ import annotations

import json

from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, Endpoint, text
from isthmus_proxy.runtime import Runtime, Value


def endpoints(runtime: Runtime) -> tuple[Endpoint, ...]:
    """The endpoints."""

    def show(_request: AdminRequest) -> AdminResponse:
        entries = {
            key: {"final_value": _shown(runtime.get(key)), "layer_values": [*map(_shown, values)]}
            for key, values in runtime.entries().items()
        }
        document = {"layers": [*runtime.layers], "entries": entries}
        return AdminResponse(200, (json.dumps(document, indent=1),), JSON)

    def modify(request: AdminRequest) -> AdminResponse:
        if not runtime.adjustable:
            return text("No admin layer specified; add one to layered_runtime.layers\n", 503)
        if not request.query:
            return text("usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN (an empty value removes)\n", 400)
        if not runtime.modify(request.query):
            return text("too many keys in the admin layer; remove some with an empty value\n", 503)
        return text("OK\n")

    return (
        Endpoint("/runtime", "print runtime values", show),
        Endpoint("/runtime_modify", "modify runtime values", modify, mutates=True),
    )


def _shown(value: Value | None) -> str:
    if isinstance(value, tuple):
        return f"{value[0]}/{value[1]}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else str(value)
