"""header_mutation: changes headers of requests and responses (envoy.extensions.filters.http.header_mutation.v3)."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus_proxy.http.filters.stream_filter import CONTINUE, FilterCallbacks, FilterContext, StreamFilter
from isthmus_proxy.http.message import RequestHead, ResponseHead
from isthmus_proxy.route import header_edits
from isthmus_proxy.route.model import HeaderEdits


@dataclass(frozen=True, slots=True)
class Mutations:
    """Header edits, each applied after the one before it."""

    request: tuple[HeaderEdits, ...] = ()
    response: tuple[HeaderEdits, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderMutationConfig:
    """``most_specific_wins``: levels of routes apply from the configuration down to the route, else the other way round."""

    mutations: Mutations
    most_specific_wins: bool = False

    def make(self, context: FilterContext) -> HeaderMutationFactory:
        """See ``FilterConfig``."""
        return HeaderMutationFactory(self)


class HeaderMutationFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_config",)

    def __init__(self, config: HeaderMutationConfig) -> None:
        self._config = config

    def create(self, callbacks: FilterCallbacks, overrides: tuple[Mutations, ...]) -> HeaderMutation | None:
        """A filter that applies its own mutations first, then those of all levels of the route."""
        levels = overrides if self._config.most_specific_wins else overrides[::-1]
        return HeaderMutation(callbacks, (self._config.mutations, *levels))


class HeaderMutation(StreamFilter):
    """See the module."""

    __slots__ = ("_levels",)

    def __init__(self, callbacks: FilterCallbacks, levels: tuple[Mutations, ...]) -> None:
        super().__init__(callbacks)
        self._levels = levels

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Change the request's headers."""
        for level in self._levels:
            for edits in level.request:
                header_edits.apply(edits, head.headers, self.callbacks.info)
        return CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Change the response's headers."""
        for level in self._levels:
            for edits in level.response:
                header_edits.apply(edits, head.headers, self.callbacks.info)
        return CONTINUE
