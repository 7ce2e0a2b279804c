"""Both ends of HTTP/2 connections by the library ``h2``, for tests with real sockets: each speaks on one stream at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import h2.config
import h2.connection
import h2.events
import h2.settings

from isthmus_proxy.testing import Peer

Fields = list[tuple[str, str]]


class Http2Peer:
    """One connection. ``informational`` are the fields of interim responses, ``fields`` those of the last message, with its ``body``."""

    def __init__(self, peer: Peer, *, client: bool, connect: bool = False) -> None:
        self.peer = peer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="utf-8"))
        if connect:
            values = {h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
            self.h2.local_settings = h2.settings.Settings(client=client, initial_values=values)
        self.h2.initiate_connection()
        self.informational: list[dict[str, str]] = []
        self.fields: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.reset: int | None = None
        self.stream_id = 0
        self.settings: dict[int, int] = {}

    async def flush(self) -> None:
        """Send what there is."""
        data = self.h2.data_to_send()
        if data:
            await self.peer.send(data)

    async def step(self) -> None:
        """Take in one read. Raises EOFError at the end of the connection."""
        data = await self.peer.read()
        if not data:
            raise EOFError
        for event in self.h2.receive_data(data):
            self._take(event)
        await self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.InformationalResponseReceived):
            self.informational.append(dict(event.headers))  # type: ignore[arg-type]
        elif isinstance(event, h2.events.ResponseReceived | h2.events.RequestReceived):
            self.fields, self.stream_id = dict(event.headers), event.stream_id  # type: ignore[arg-type]
            self.body, self.ended = b"", False
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.reset = int(event.error_code)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings |= {int(code): change.new_value for code, change in event.changed_settings.items()}

    async def until(self, done: Callable[[], bool]) -> None:
        """Take in what comes until ``done``."""
        while not done():
            await self.step()

    async def request(self, fields: Fields, *, end: bool = True) -> int:
        """Begin a request; answer its stream."""
        self.stream_id = self.h2.get_next_available_stream_id()
        self.fields = {}
        self.h2.send_headers(self.stream_id, fields, end_stream=end)
        await self.flush()
        return self.stream_id

    async def respond(self, fields: Fields, *, end: bool = False) -> None:
        """Send a head, interim or final, on the stream of the request that came last."""
        self.h2.send_headers(self.stream_id, fields, end_stream=end)
        await self.flush()

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Send body bytes on the stream at hand, as many as its window takes at a time."""
        while data:
            room = min(self.h2.local_flow_control_window(self.stream_id), self.h2.max_outbound_frame_size)
            if not room:
                await self.step()
                continue
            piece, data = data[:room], data[room:]
            self.h2.send_data(self.stream_id, piece)
            await self.flush()
        if end:
            self.h2.end_stream(self.stream_id)
            await self.flush()


def serving(
    script: Callable[[Http2Peer], Awaitable[None]], *, connect: bool = False
) -> Callable[[Peer, int], Awaitable[None]]:
    """A script for ``Proxy.origin`` that speaks HTTP/2; ``connect`` offers extended CONNECT (RFC 8441)."""

    async def serve(peer: Peer, _number: int) -> None:
        made = Http2Peer(peer, client=False, connect=connect)
        await made.flush()
        await script(made)

    return serve


async def http2_client(peer: Peer) -> Http2Peer:
    """A client that has sent its preface and knows the proxy's settings."""
    made = Http2Peer(peer, client=True)
    await made.flush()
    await made.until(lambda: bool(made.settings))
    return made
