"""The configuration of a filter in Python, and what routes say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus_proxy.extension.http_filter import HttpFilter
from isthmus_proxy.http.filters.python.factory import PythonFilterFactory
from isthmus_proxy.http.filters.stream_filter import FilterContext


@dataclass(frozen=True, slots=True)
class Limits:
    """How a filter's hooks are run.

    ``timeout``: seconds that a hook which waits, or runs in a thread, may take. ``slow``: seconds from which on a plain hook
    counts as slow; after ``demote_after`` slow ones in a row plain hooks run in a thread from then on (0: never). ``threads``: they
    do from the beginning, in so many threads (0: not). ``max_active``: hooks that may wait or run in threads at once.
    ``fail_open``: a request goes on as if the hook that failed did not exist. Buffers: bytes of a body that its hook gets whole,
    None for bodies in parts as they come.
    """

    timeout: float = 1.0
    slow: float = 0.01
    demote_after: int = 3
    threads: int = 0
    max_active: int = 1024
    fail_open: bool = False
    buffer_request_bytes: int | None = None
    buffer_response_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PythonFilterConfig:
    """``name`` is the entry point that gave ``kind``; ``config`` what the kind made of its configuration."""

    name: str
    kind: type[HttpFilter[Any]]
    config: Any
    limits: Limits = field(default_factory=Limits)

    def make(self, context: FilterContext) -> PythonFilterFactory:
        """See ``FilterConfig``."""
        return PythonFilterFactory(self, context)


@dataclass(frozen=True, slots=True)
class PythonRouteConfig:
    """What a route says for the filter ``name``."""

    name: str
    config: Any


Values = Mapping[str, Any]
