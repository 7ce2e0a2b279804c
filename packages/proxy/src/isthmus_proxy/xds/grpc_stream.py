"""One bidirectional gRPC call over one HTTP/2 connection, on a trio stream, with the ``h2`` library.

There is exactly one call on the connection and one reader of it, so nothing is multiplexed: ``receive`` reads, answers
what the protocol demands (settings, pings, windows) and gives the messages out. Only ``send`` may run beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import trio

from isthmus_proxy.xds.grpc_framing import INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE, UNKNOWN, GrpcError, MessageReader
from isthmus_proxy.xds.grpc_framing import frame as grpc_frame

_READ_BYTES = 64 * 1024
_WINDOW_BYTES = 4 * 1024 * 1024  # so that an update of megabytes does not wait for a window at every 64 KiB
_HTTP_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}  # gRPC http-grpc-status-mapping


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one call, in bytes and seconds."""

    message_bytes: int = 64 * 1024 * 1024  # 9,000 clusters are some 12 MB in one response
    outgoing_bytes: int = 16 * 1024 * 1024  # initial_resource_versions of 100,000 resources fit
    greeting_seconds: float = 10.0  # for the settings that open every HTTP/2 connection (RFC 9113, 3.4)
    send_seconds: float = 20.0  # a server that stops reading is as good as gone
    # gRPC servers end a connection that pings more often than every five minutes without data (too_many_pings).
    ping_after_seconds: float = 305.0
    ping_answer_seconds: float = 20.0


class GrpcStream:
    """See the module. Make it, ``start`` it, then ``send`` and ``receive`` until GrpcError."""

    def __init__(self, transport: trio.abc.Stream, limits: Limits | None = None) -> None:
        self._transport = transport
        self._limits = limits or Limits()
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_inbound_headers=True)
        self._h2 = h2.connection.H2Connection(config)
        self._reader = MessageReader(self._limits.message_bytes)
        self._stream_id = 1
        self._outgoing = bytearray()
        self._send_lock = trio.Lock()
        self._ended: GrpcError | None = None
        self._greeted = False

    async def start(self, authority: str, path: str) -> None:
        """Open the call. Raises GrpcError if the connection does not take it."""
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
                h2.settings.SettingCodes.MAX_FRAME_SIZE: 16384,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 65536,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW_BYTES)
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "isthmus-proxy"),
        ]
        self._h2.send_headers(self._stream_id, headers)
        await self._flush()

    async def send(self, message: bytes) -> None:
        """Send one message, or as much of it as the server's window allows; ``receive`` sends the rest."""
        self._outgoing += grpc_frame(message)
        if len(self._outgoing) > self._limits.outgoing_bytes:
            raise GrpcError(RESOURCE_EXHAUSTED, "the server takes none of what is sent to it")
        self._fill_window()
        await self._flush()

    async def receive(self) -> list[bytes]:
        """Wait for the server and return the messages that are complete; may be none. Raises GrpcError at the end."""
        self._check_open()
        data = await self._read()
        if not data:
            raise GrpcError(UNAVAILABLE, "the server closed the connection")
        if not self._greeted:
            self._greeted = True
            if data.startswith(b"HTTP/"):
                raise GrpcError(UNAVAILABLE, "the server speaks HTTP/1, not HTTP/2; is it a gRPC server without TLS?")
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            raise GrpcError(INTERNAL, f"not HTTP/2, or broken: {error}") from None
        messages: list[bytes] = []
        for event in events:
            messages += self._handle(event)
        self._fill_window()
        await self._flush()
        if not messages:
            self._check_open()
        return messages

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._ended

    async def aclose(self) -> None:
        """Close the connection without ceremony."""
        await trio.aclose_forcefully(self._transport)

    async def _read(self) -> bytes:
        """Received bytes; a silent server is pinged and must answer."""
        limits = self._limits
        try:
            with trio.move_on_after(limits.ping_after_seconds if self._greeted else limits.greeting_seconds):
                return bytes(await self._transport.receive_some(_READ_BYTES))
            if not self._greeted:
                raise GrpcError(UNAVAILABLE, f"no HTTP/2 settings within {limits.greeting_seconds:g} s")
            self._h2.ping(b"isthmus.")
            await self._flush()
            with trio.move_on_after(limits.ping_answer_seconds):
                return bytes(await self._transport.receive_some(_READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise GrpcError(UNAVAILABLE, f"the connection broke: {error.__cause__ or error}") from None
        raise GrpcError(UNAVAILABLE, f"no answer to a ping within {limits.ping_answer_seconds:g} s")

    async def _flush(self) -> None:
        async with self._send_lock:
            data = self._h2.data_to_send()
            if not data:
                return
            try:
                with trio.fail_after(self._limits.send_seconds):
                    await self._transport.send_all(data)
            except trio.TooSlowError:
                raise GrpcError(UNAVAILABLE, f"the server read nothing for {self._limits.send_seconds:g} s") from None
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise GrpcError(UNAVAILABLE, f"the connection broke: {error.__cause__ or error}") from None

    def _fill_window(self) -> None:
        """Hand over to HTTP/2 what the windows allow."""
        outgoing = self._outgoing
        try:
            while outgoing and self._ended is None:
                room = min(self._h2.local_flow_control_window(self._stream_id), self._h2.max_outbound_frame_size)
                if room <= 0:
                    return
                self._h2.send_data(self._stream_id, bytes(outgoing[:room]))
                del outgoing[:room]
        except h2.exceptions.ProtocolError as error:
            raise GrpcError(UNAVAILABLE, f"the call is over: {error}") from None

    def _handle(self, event: h2.events.Event) -> list[bytes]:
        """The messages that an event completes; the end of the call is noted in ``_ended``."""
        if isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, self._stream_id)
            return self._reader.feed(event.data)
        if isinstance(event, h2.events.ResponseReceived):
            self._ended = self._ended or _refusal(_fields(event.headers))
        elif isinstance(event, h2.events.TrailersReceived):
            self._ended = self._ended or _outcome(_fields(event.headers))
        elif isinstance(event, h2.events.StreamEnded):
            self._ended = self._ended or GrpcError(UNKNOWN, "the server ended the call without a status")
        elif isinstance(event, h2.events.StreamReset):
            self._ended = self._ended or GrpcError(
                UNAVAILABLE, f"the server reset the call (HTTP/2 error {event.error_code})"
            )
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._ended = self._ended or _goaway(event)
        return []


def _fields(headers: object) -> dict[str, str]:
    fields: dict[str, str] = {}
    if isinstance(headers, list):
        for name, value in headers:
            fields[_text(name)] = _text(value)
    return fields


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _refusal(headers: dict[str, str]) -> GrpcError | None:
    """The error in a response head: a status that is not 200, another content type, or a trailers-only answer."""
    if "grpc-status" in headers:
        return _outcome(headers)
    status = headers.get(":status", "")
    if status != "200":
        code = _HTTP_STATUS.get(int(status), UNKNOWN) if status.isdecimal() else UNKNOWN
        return GrpcError(code, f"the server answered with HTTP status {status}; is it a gRPC server?")
    content_type = headers.get("content-type", "")
    if not content_type.startswith("application/grpc"):
        return GrpcError(UNKNOWN, f"the server answered with content type {content_type!r}; is it a gRPC server?")
    return None


def _outcome(trailers: dict[str, str]) -> GrpcError:
    status = trailers.get("grpc-status", "")
    message = unquote(trailers.get("grpc-message", ""))
    if not status.isdecimal():
        return GrpcError(UNKNOWN, "the server ended the call without a status")
    return GrpcError(int(status), message or "the server ended the call")


def _goaway(event: h2.events.ConnectionTerminated) -> GrpcError:
    data = event.additional_data
    detail = f" ({data.decode('utf-8', 'replace')})" if data else ""
    return GrpcError(UNAVAILABLE, f"the server is going away, HTTP/2 error {event.error_code}{detail}")
