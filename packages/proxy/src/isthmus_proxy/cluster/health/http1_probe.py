"""Checks an endpoint by a request over HTTP/1.1 (HealthCheck.HttpHealthCheck)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isthmus_proxy.cluster.health.host_check import Failure
from isthmus_proxy.cluster.health.model import HttpCheck
from isthmus_proxy.cluster.health.probe import Report
from isthmus_proxy.cluster.health.probe_connection import Connect, ProbeConnection
from isthmus_proxy.cluster.health.verdict import Verdict, judge_http
from isthmus_proxy.codec.http1.events import Event
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http1.response_parser import ResponseParser
from isthmus_proxy.errors import ProtocolError


class Http1Probe:
    """See ``probe.Probe``. ``connect`` opens a connection, ``request`` makes the head of each check."""

    __slots__ = (
        "_body", "_busy", "_check", "_connect", "_connection", "_parser", "_report", "_request", "_response", "_reuse",
    )  # fmt: skip

    def __init__(
        self,
        connect: Connect,
        check: HttpCheck,
        request: Callable[[], bytes],
        report: Report,
        *,
        reuse: bool,
    ) -> None:
        self._connect = connect
        self._check = check
        self._request = request
        self._report = report
        self._reuse = reuse
        self._connection: ProbeConnection | None = None
        self._parser = ResponseParser()
        self._response: ParsedResponse | None = None
        self._body = b""
        self._busy = False

    def begin(self) -> None:
        """Connect if need be, and ask."""
        self._busy = True
        self._response = None
        self._body = b""
        if self._connection is None:
            self._parser = ResponseParser()
            self._connection = self._connect(self)
        else:
            self._ask(self._connection)

    def connected(self) -> None:
        """Ask."""
        if self._connection is not None:
            self._ask(self._connection)

    def _ask(self, connection: ProbeConnection) -> None:
        self._parser.expect(self._check.method)
        connection.write(self._request())

    def data_received(self, data: bytes) -> None:
        """Parse a piece of the response."""
        if not self._busy:
            self.close()  # what nobody asked for
            return
        try:
            self._take(self._parser.receive(data))
        except ProtocolError:
            self._lost()
            return
        if self._parser.done:
            self._complete(keep_alive=self._reuse and self._parser.keep_alive)

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, bytes):
                room = self._check.response_buffer_size - len(self._body)
                if self._check.receive and room > 0:
                    self._body += event[:room]
            elif isinstance(event, ParsedResponse) and event.status >= 200:
                self._response = event

    def _complete(self, *, keep_alive: bool) -> None:
        self._busy = False
        if not keep_alive:
            self.close()
        response = self._response
        if response is None:
            self._report.check_failed(Failure.NETWORK)
        else:
            verdict = judge_http(self._check, response.status, response.headers, self._body)
            tell(self._report, verdict, response.status)

    def closed(self) -> None:
        """The endpoint closed: the end of a response that lasts until then, or a failure."""
        self._connection = None
        if not self._busy:
            return
        try:
            self._take(self._parser.eof())
        except ProtocolError:
            self._lost()
        else:
            self._complete(keep_alive=False)

    def _lost(self) -> None:
        self.close()
        self._report.check_failed(Failure.NETWORK)

    def abandon(self) -> None:
        """Begin anew the next time."""
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._busy = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def tell(report: Report, verdict: Verdict, status: int) -> None:
    """Report what an answer with ``status`` says."""
    if verdict in (Verdict.PASSED, Verdict.DEGRADED):
        report.check_passed(degraded=verdict is Verdict.DEGRADED)
    else:
        report.check_failed(Failure.ACTIVE, retriable=verdict is Verdict.RETRIABLE, status=status)
