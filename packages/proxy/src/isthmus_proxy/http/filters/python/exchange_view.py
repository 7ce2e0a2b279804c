"""What hooks see of an exchange, and what they change of it: kept back until the hook has succeeded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus_proxy.extension.headers import RequestHeaders, ResponseHeaders
from isthmus_proxy.http.filters.stream_filter import FilterCallbacks
from isthmus_proxy.http.message import RequestHead, ResponseHead


class ExchangeView:
    """See ``extension.Exchange``."""

    __slots__ = ("_callbacks", "_metadata", "_request", "_reroute", "_response", "_route_configs", "state")

    def __init__(self, callbacks: FilterCallbacks, route_configs: tuple[Any, ...]) -> None:
        self._callbacks = callbacks
        self._route_configs = route_configs
        self._metadata: list[tuple[str, dict[str, Any]]] | None = None
        self._reroute = False
        self._request: RequestHeaders | None = None
        self._response: tuple[ResponseHeaders, ResponseHead] | None = None
        self.state: Any = None

    @property
    def request(self) -> RequestHeaders:
        """See Exchange."""
        return request_view(self._callbacks.head) if self._request is None else self._request

    @property
    def response(self) -> ResponseHeaders | None:
        """See Exchange."""
        if self._response is not None:
            return self._response[0]
        head = self._callbacks.info.response
        return None if head is None else response_view(head)

    @property
    def remote_address(self) -> str:
        """See Exchange."""
        return self._callbacks.remote_address

    @property
    def local_address(self) -> str:
        """See Exchange."""
        return self._callbacks.local_address

    @property
    def protocol(self) -> str:
        """See Exchange."""
        return self._callbacks.info.protocol

    @property
    def request_id(self) -> str:
        """See Exchange."""
        return (self._callbacks.info.request_id or b"").decode("latin-1")

    @property
    def route_name(self) -> str:
        """See Exchange."""
        decision = self._callbacks.decision
        return decision.route.name if decision is not None else ""

    @property
    def cluster_name(self) -> str:
        """See Exchange."""
        return self._callbacks.cluster_name

    @property
    def route_configs(self) -> tuple[Any, ...]:
        """See Exchange."""
        return self._route_configs

    def metadata(self, namespace: str, *path: str) -> Any:
        """See Exchange."""
        return self._callbacks.info.metadata(namespace, *path)

    def set_metadata(self, namespace: str, values: Mapping[str, Any]) -> None:
        """See Exchange."""
        if self._metadata is None:
            self._metadata = []
        self._metadata.append((namespace, dict(values)))

    def reroute(self) -> None:
        """See Exchange."""
        self._reroute = True

    def open_request(self) -> RequestHeaders:
        """Let the next hook change the request's head."""
        view = self._request = request_view(self._callbacks.head)
        return view

    def open_response(self, head: ResponseHead) -> ResponseHeaders:
        """Let the next hook change the response's head."""
        view = response_view(head)
        self._response = view, head
        return view

    def commit(self) -> None:
        """Let what the hook changed and asked for take effect."""
        if self._request is not None:
            view, self._request = self._request, None
            head = self._callbacks.head
            head.headers = view.raw
            head.method, head.path, head.authority = view.raw_target
        if self._response is not None:
            (seen, response), self._response = self._response, None
            response.headers = seen.raw
            response.status = seen.status
        metadata, self._metadata = self._metadata, None
        for namespace, values in metadata or ():
            self._callbacks.info.set_metadata(namespace, values)
        if self._reroute:
            self._reroute = False
            self._callbacks.clear_route_cache()

    def renewed(self) -> ExchangeView:
        """Another one for the hooks to come: what a failed hook asked for is forgotten, even where it still runs."""
        view = ExchangeView(self._callbacks, self._route_configs)
        view.state = self.state
        return view


def request_view(head: RequestHead) -> RequestHeaders:
    """A copy of ``head`` for a hook."""
    view = RequestHeaders.__new__(RequestHeaders)
    view.raw = [*head.headers]
    view.set_raw(head.method, head.path, head.authority, head.scheme)
    return view


def response_view(head: ResponseHead) -> ResponseHeaders:
    """A copy of ``head`` for a hook."""
    view = ResponseHeaders.__new__(ResponseHeaders)
    view.raw = [*head.headers]
    view.set_raw(head.status)
    return view
