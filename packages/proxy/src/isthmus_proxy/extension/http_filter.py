"""The API of HTTP filters in Python: what a filter's author subclasses and what the hooks get.

A filter is one object for each place where it is configured, in each worker; it serves all requests there, one hook after the
other within a request. What belongs to a single request is kept in ``exchange.state``. Every hook may be a plain method or
``async def``: a plain one runs at once and must be quick; an ``async`` one runs as a trio task with a deadline, during which
only its own request waits. An exception, or a deadline that passes, is dealt with as ``error_policy`` says, and whatever the hook
changed by then is undone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from isthmus_proxy.extension.headers import Headers, RequestHeaders, ResponseHeaders, header_name, header_value

ENTRY_POINT_GROUP = "isthmus_proxy.http_filters"
"""Where an installed package names its filters: entry point ``NAME = "module:Class"``."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in place of the upstream's. ``details`` are what access logs show as RESPONSE_CODE_DETAILS.

    ``headers`` may name a content type; without one a body is ``text/plain``. ``grpc_status`` is what a gRPC client is told.
    Raises ValueError for what cannot be sent.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    details: str = "python_filter"
    grpc_status: int | None = None

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            message = f"{self.status} is no final status: it must be from 200 to 599"
            raise ValueError(message)
        for name, value in self.headers:
            header_name(name)
            header_value(value)


class Counter(Protocol):
    """A counter of the proxy's stats; add to ``value``."""

    value: int


class FilterContext(Protocol):
    """What a filter is made with."""

    @property
    def name(self) -> str:
        """The filter's entry point."""

    @property
    def log(self) -> logging.Logger:
        """The proxy's log."""

    def counter(self, name: str) -> Counter:
        """A counter ``name`` below the filter's own stats."""


class Exchange(Protocol):
    """One request and its response, as hooks see it. ``state`` is the filter's own, None at first."""

    state: Any

    @property
    def request(self) -> RequestHeaders:
        """The request's head as it is now.

        It can be changed in ``on_request_headers``, and in ``on_request_data`` where the body is buffered; elsewhere it is a copy.
        """

    @property
    def response(self) -> ResponseHeaders | None:
        """The response's head, None as long as there is none, and where the proxy answers itself.

        It can be changed in ``on_response_headers``, and in ``on_response_data`` where the body is buffered; elsewhere it is a copy.
        """

    @property
    def remote_address(self) -> str:
        """The peer, ``host:port``."""

    @property
    def local_address(self) -> str:
        """The address to which the client connected, ``host:port``."""

    @property
    def protocol(self) -> str:
        """``HTTP/1.1`` or ``HTTP/2``, the client's."""

    @property
    def request_id(self) -> str:
        """``x-request-id``, empty if there is none."""

    @property
    def route_name(self) -> str:
        """The name of the request's route, empty if it has none."""

    @property
    def cluster_name(self) -> str:
        """The cluster to which the request goes, empty if there is none."""

    @property
    def route_configs(self) -> tuple[Any, ...]:
        """What ``typed_per_filter_config`` says for this filter, parsed, the least specific first."""

    def metadata(self, namespace: str, *path: str) -> Any:
        """The value at ``path`` in the dynamic metadata of ``namespace``, None if there is none."""

    def set_metadata(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Add to the dynamic metadata of ``namespace``, which access logs and later filters read: values as JSON has them."""

    def reroute(self) -> None:
        """Choose the route anew when all filters have seen the request's head. Counts in ``on_request_headers``."""


C = TypeVar("C")

Later = Awaitable[Reply | None]


class HttpFilter(Generic[C]):
    """A filter that lets everything pass. Override what you need; hooks that are not overridden cost nothing.

    ``C`` is the type of the configuration, what ``parse_config`` returns.
    """

    changes_request_body: bool = True
    """False if ``on_request_data`` only reads: bodies then keep their ``content-length``, and what the hook returns is ignored."""
    changes_response_body: bool = True
    """The same for ``on_response_data``."""

    def __init__(self, config: C, context: FilterContext) -> None:
        self.config = config
        self.context = context

    @classmethod
    def parse_config(cls, values: Mapping[str, Any]) -> C:
        """The configuration as the filter uses it, of the field ``config``. Raise ValueError for what is wrong in it.

        Called when the proxy takes the configuration, before it is in use: what raises here is refused (over xDS: a NACK).
        """
        return values  # type: ignore[return-value]

    @classmethod
    def parse_route_config(cls, values: Mapping[str, Any]) -> Any:
        """The same for ``typed_per_filter_config`` of routes, virtual hosts, route configurations and weighted clusters."""
        return cls.parse_config(values)

    def config_for(self, exchange: Exchange) -> C:
        """The most specific configuration: the route's if it has one, else the filter's own."""
        levels = exchange.route_configs
        return levels[-1] if levels else self.config

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> Reply | Later | None:
        """The request's head, which may be changed. A reply answers the request here."""
        return None

    def on_request_data(
        self, exchange: Exchange, data: bytes
    ) -> bytes | Reply | Awaitable[bytes | Reply | None] | None:
        """Part of the request's body, or all of it with ``buffer_request_bytes``; what goes on in its place, None: the same."""
        return None

    def on_request_trailers(self, exchange: Exchange, trailers: Headers) -> Reply | Later | None:
        """The request's trailers, if it has any; they may be changed."""
        return None

    def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> Reply | Later | None:
        """The response's head, which may be changed. A reply takes the response's place."""
        return None

    def on_response_data(
        self, exchange: Exchange, data: bytes
    ) -> bytes | Reply | Awaitable[bytes | Reply | None] | None:
        """Part of the response's body, or all of it with ``buffer_response_bytes``; what goes on in its place, None: the same.

        A reply may take the response's place only where the body is buffered.
        """
        return None

    def on_response_trailers(self, exchange: Exchange, trailers: Headers) -> Reply | Later | None:
        """The response's trailers, if it has any; they may be changed. A reply is an error here."""
        return None

    def on_local_reply(self, exchange: Exchange, reply: Reply) -> Reply | Later | None:
        """The proxy, a filter or this filter itself answers in place of the upstream: what goes out in its place, None: the same.

        Called in place of the hooks of the response.
        """
        return None

    def on_end(self, exchange: Exchange, status: int, details: str) -> Awaitable[None] | None:
        """The exchange is over, whatever ended it. ``status`` is 0 if no response was begun. Nothing waits for this hook."""
        return None

    async def serve(self) -> None:
        """Runs as long as the filter is configured, for what needs a task of its own; cancelled at the end."""


Hook = Callable[..., Any]
