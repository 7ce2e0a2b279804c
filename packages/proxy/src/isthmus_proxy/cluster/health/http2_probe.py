"""Checks an endpoint by a request over HTTP/2: HTTP health checks of clusters that speak it, and gRPC's."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.cluster.health.host_check import Failure
from isthmus_proxy.cluster.health.http1_probe import tell
from isthmus_proxy.cluster.health.probe import Report
from isthmus_proxy.cluster.health.probe_connection import Connect, ProbeConnection
from isthmus_proxy.cluster.health.verdict import Fields, Verdict
from isthmus_proxy.codec.http2.codec import Http2Codec
from isthmus_proxy.codec.http2.errors import CANCEL
from isthmus_proxy.codec.http2.events import (
    DataReceived,
    Event,
    GoawayReceived,
    HeadersReceived,
    StreamReset,
    TrailersReceived,
)
from isthmus_proxy.codec.http2.header_block import BlockMemo
from isthmus_proxy.codec.http2.messages import regular_fields
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.stats import Http2Stats
from isthmus_proxy.codec.http2.stream import Stream

MAX_BODY = 65536
"""Bytes kept of an answer; one that is longer says nothing that a health check reads."""

Judge = Callable[[int, Fields, bytes, Fields], Verdict]
"""Of status, headers, body and trailers."""


class Http2Probe:
    """See ``probe.Probe``. ``connect`` opens a connection, ``request`` makes head and body of each check; ``judge`` reads its answer.

    Failures are told with the status of the answer if ``tells_status``.
    """

    __slots__ = (
        "_body", "_codec", "_connect", "_connection", "_headers", "_judge", "_options", "_report", "_request", "_retiring",
        "_reuse", "_stats", "_status", "_stream", "_tells_status", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        connect: Connect,
        options: Http2Options,
        stats: Http2Stats,
        request: Callable[[], tuple[bytes, bytes]],
        judge: Judge,
        report: Report,
        *,
        reuse: bool,
        tells_status: bool,
    ) -> None:
        self._connect = connect
        self._options = options
        self._stats = stats
        self._request = request
        self._judge = judge
        self._report = report
        self._reuse = reuse
        self._tells_status = tells_status
        self._connection: ProbeConnection | None = None
        self._codec: Http2Codec | None = None
        self._stream: Stream | None = None
        self._waiting = False
        self._retiring = False
        self._status = 0
        self._headers: Fields = ()
        self._body = b""

    def begin(self) -> None:
        """Connect if need be, and ask."""
        self._status, self._headers, self._body = 0, (), b""
        if self._connection is None:
            self._waiting = True
            self._retiring = False
            self._codec = None
            self._connection = self._connect(self)
        else:
            self._ask()

    def connected(self) -> None:
        """Greet, and ask."""
        self._codec = Http2Codec(self._options, self._stats, BlockMemo(), client=True)
        self._codec.start()
        self._waiting = False
        self._ask()

    def _ask(self) -> None:
        codec = self._codec
        if codec is None:
            return
        block, body = self._request()
        self._stream = codec.open(block, end=not body)
        if body:
            codec.sender.data(self._stream, body, end=True)
        self._write()

    def _write(self) -> None:
        if self._codec is not None and self._connection is not None and self._codec.sender.out:
            self._connection.write(self._codec.sender.take())

    def data_received(self, data: bytes) -> None:
        """Serve the frames that came in."""
        codec = self._codec
        if codec is None:
            return
        for event in codec.receive(data):
            self._handle(event)
        if codec.failure is not None:
            self._lost()
        else:
            self._write()

    def _handle(self, event: Event) -> None:
        if isinstance(event, GoawayReceived):
            self._retiring = True
            if self._stream is None:
                self.close()
        elif self._stream is None or getattr(event, "stream", None) is not self._stream:
            return
        elif isinstance(event, HeadersReceived):
            if event.block.status >= 200:
                self._status, self._headers = event.block.status, regular_fields(event.block.fields)
                if event.end:
                    self._complete(())
        elif isinstance(event, DataReceived):
            self._body += event.data[: MAX_BODY - len(self._body)]
            if event.end:
                self._complete(())
        elif isinstance(event, TrailersReceived):
            self._complete(event.fields)
        elif isinstance(event, StreamReset):
            self._stream = None
            self._report.check_failed(Failure.NETWORK)

    def _complete(self, trailers: Fields) -> None:
        self._stream = None
        if self._retiring or not self._reuse:
            self._write()
            self.close()
        verdict = self._judge(self._status, self._headers, self._body, trailers)
        tell(self._report, verdict, self._status if self._tells_status else 0)

    def closed(self) -> None:
        """The endpoint closed."""
        self._lost()

    def _lost(self) -> None:
        asked = self._waiting or self._stream is not None
        self.close()
        if asked:
            self._report.check_failed(Failure.NETWORK)

    def abandon(self) -> None:
        """Give the request up; over HTTP/2 the connection can stay."""
        stream, self._stream = self._stream, None
        if self._waiting or self._codec is None or not self._reuse:
            self.close()
        elif stream is not None:
            self._codec.reset(stream, CANCEL)
            self._write()

    def close(self) -> None:
        """Let go of the connection."""
        self._waiting = False
        if self._codec is not None:
            self._stats.streams_active.value -= len(self._codec.streams)
            self._codec.streams.clear()
        self._stream = None
        self._codec = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
