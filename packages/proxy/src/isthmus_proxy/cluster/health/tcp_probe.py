"""Checks an endpoint by a TCP connection, and by what it answers on it (HealthCheck.TcpHealthCheck)."""

from __future__ import annotations

from isthmus_proxy.cluster.health.host_check import Failure
from isthmus_proxy.cluster.health.model import TcpCheck
from isthmus_proxy.cluster.health.probe import Report
from isthmus_proxy.cluster.health.probe_connection import Connect, ProbeConnection
from isthmus_proxy.cluster.health.verdict import found_in_order

_MOST_KEPT = 65536
"""Bytes of an answer that are looked at: an endpoint that goes on talking must not fill memory."""


class TcpProbe:
    """See ``probe.Probe``."""

    __slots__ = ("_busy", "_check", "_connect", "_connection", "_received", "_report", "_reuse")

    def __init__(self, connect: Connect, check: TcpCheck, report: Report, *, reuse: bool) -> None:
        self._connect = connect
        self._check = check
        self._report = report
        self._reuse = reuse
        self._connection: ProbeConnection | None = None
        self._received = b""
        self._busy = False

    def begin(self) -> None:
        """Connect, or use the connection that is there."""
        self._busy = True
        self._received = b""
        if self._connection is None:
            self._connection = self._connect(self)
        elif self._check.send:
            self._connection.write(self._check.send)

    def connected(self) -> None:
        """Ask, or be content."""
        if not self._check.receive:
            self.close()
            self._report.check_passed(degraded=False)
        elif self._connection is not None and self._check.send:
            self._connection.write(self._check.send)

    def data_received(self, data: bytes) -> None:
        """See whether the answer is complete."""
        if not self._busy:
            return
        self._received = (self._received + data)[-_MOST_KEPT:]
        if found_in_order(self._check.receive, self._received):
            self._busy = False
            if not self._reuse:
                self.close()
            self._report.check_passed(degraded=False)

    def closed(self) -> None:
        """The endpoint closed."""
        self._connection = None
        if self._busy:
            self._busy = False
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
