"""One request as a span: its context, and what a collector is told when the request is over."""

from __future__ import annotations

from dataclasses import dataclass, replace

from isthmus_proxy.http.message import Headers
from isthmus_proxy.trace.context import SpanContext, put

Tags = tuple[tuple[str, str], ...]


class Span:
    """The span of a request that runs. ``tags`` are those known from its head; ``identifier`` is its x-request-id."""

    __slots__ = ("_identifier", "context", "name", "tags")

    def __init__(self, context: SpanContext, name: str, tags: Tags, identifier: bytes) -> None:
        self.context = context
        self.name = name
        self.tags = tags
        self._identifier = identifier

    def inject(self, headers: Headers) -> None:
        """Tell whoever gets ``headers`` of this span."""
        for index, (name, _) in enumerate(headers):
            if name == b"x-request-id":
                headers[index] = (name, self._identifier)
        put(self.context, headers)

    def unsample(self) -> None:
        """Report the span to nobody, nor let those behind do so."""
        self.context = replace(self.context, sampled=False)


@dataclass(frozen=True, slots=True)
class FinishedSpan:
    """A span as it is reported. Times in seconds since the epoch; ``local`` is the address that the client connected to."""

    context: SpanContext
    name: str
    started: float
    ended: float
    tags: Tags
    host: str
    local: str
    error: bool
