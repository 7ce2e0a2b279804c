"""Who wants to know what happens on streams."""

from __future__ import annotations

from typing import Protocol

from isthmus_controlplane.xds.fleet import Client
from isthmus_controlplane.xds.message import Nack, Request, Response


class Observer(Protocol):
    """Told what happens, in the event loop of the server, so it must not block; what it raises ends the stream."""

    def stream_opened(self, client: Client) -> None:
        """A stream was accepted; its node is not known yet."""
        ...

    def stream_closed(self, client: Client) -> None:
        """A stream ended, in whatever way."""
        ...

    def request(self, client: Client, request: Request) -> None:
        """A request came in, and was taken."""
        ...

    def rejected(self, client: Client, type_url: str, nack: Nack) -> None:
        """A client rejected a response; it goes on with what it had."""
        ...

    def response(self, client: Client, response: Response) -> None:
        """A response is about to be written."""
        ...


class Silent:
    """An observer that does nothing; derive from it to hear of some things only."""

    def stream_opened(self, client: Client) -> None:
        """See `Observer`."""

    def stream_closed(self, client: Client) -> None:
        """See `Observer`."""

    def request(self, client: Client, request: Request) -> None:
        """See `Observer`."""

    def rejected(self, client: Client, type_url: str, nack: Nack) -> None:
        """See `Observer`."""

    def response(self, client: Client, response: Response) -> None:
        """See `Observer`."""
