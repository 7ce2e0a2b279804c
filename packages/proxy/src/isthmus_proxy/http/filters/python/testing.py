"""For tests: serves filters in Python behind a real listener. Nothing here is imported by the proxy itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus_proxy.extension import HttpFilter
from isthmus_proxy.http.filters.python.config import Limits, PythonFilterConfig
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.testing import Origin, Proxy, answer_ok, forward


async def serve(
    proxy: Proxy, *kinds: type[HttpFilter[Mapping[str, Any]]], limits: Limits | None = None, **options: Any
) -> Origin:
    """Listen for HTTP with filters of ``kinds``, named f0, f1 and so on, before one origin."""
    origin = await proxy.origin(options.pop("origin", answer_ok))
    proxy.cluster("c", origin.port)
    if "route" not in options:
        proxy.route(forward())
    options.pop("route", None)
    filters = tuple(
        HttpFilterConfig(f"f{number}", PythonFilterConfig(f"f{number}", kind, {}, limits or Limits()))
        for number, kind in enumerate(kinds)
    )
    proxy.http(http_filters=filters, **options)
    return origin


def stat(proxy: Proxy, name: str, number: int = 0) -> int | None:
    """What a filter counts."""
    return proxy.stat(f"http.test.python.f{number}.{name}")
