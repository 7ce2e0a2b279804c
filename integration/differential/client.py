"""Plays the client of a case over raw sockets, and keeps what comes back."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from conformance.http1.strict_reader import AmbiguousError, read_response
from differential.case import Case, CaseError, Step
from differential.upstream import Recorder
from harness.eventually import eventually

DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer, or bytes that came outside of one (``head`` is empty then)."""

    head: bytes
    body: bytes
    trailers: tuple[tuple[bytes, bytes], ...] = ()


class Connection:
    """One connection to the proxy, from an address of its own, by which the access log tells cases apart."""

    def __init__(self, address: tuple[str, int], source: str) -> None:
        self._sock = socket.create_connection(address, DEADLINE_S, (source, 0))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        self._eof = ""
        self.heard: list[Heard] = []

    def send(self, data: bytes) -> None:
        """Send; a proxy that has refused may have closed before it reads everything."""
        with contextlib.suppress(OSError):
            self._sock.sendall(data)

    def read(self, method: bytes, *, interim: bool = False) -> None:
        """Read up to the end of the final answer to ``method`` (or of the next one, with ``interim``)."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                found = read_response(self._data, method=method, eof=bool(self._eof)) if self._data else None
            except AmbiguousError as error:
                self.heard.append(Heard(b"", f"ambiguous: {error}".encode()))
                self._data = b""
                return
            if found is not None:
                message, end = found
                head = self._data[: self._data.index(b"\r\n\r\n")]
                self._data = self._data[end:]
                self.heard.append(Heard(head, message.body, message.trailers))
                if interim or message.status >= 200 or message.status == 101:
                    return
            elif self._eof or not self._receive(deadline):
                self._break_off()
                return

    def closed(self) -> None:
        """Read until the proxy closes."""
        deadline = time.monotonic() + DEADLINE_S
        while not self._eof and self._receive(deadline):
            pass
        self._break_off()

    def bytes(self, count: int) -> None:
        """Read that many bytes of a tunnel."""
        deadline = time.monotonic() + DEADLINE_S
        while len(self._data) < count and not self._eof and self._receive(deadline):
            pass
        self.heard.append(Heard(b"", self._data[:count]))
        self._data = self._data[count:]

    def half_close(self) -> None:
        """Send no more."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def end(self) -> None:
        """Close; what was never read is kept."""
        if self._data:
            self.heard.append(Heard(b"", self._data))
        self._sock.close()

    def _break_off(self) -> None:
        rest = b"closed" if self._eof else b"nothing came in time"
        self.heard.append(Heard(b"", self._data + b"<" + rest + b">"))
        self._data = b""

    def _receive(self, deadline: float) -> bool:
        """More bytes, or the end; False when time is up."""
        self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            piece = self._sock.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            piece = b""
        self._data += piece
        if not piece:
            self._eof = "closed"
        return True


class Player:
    """Plays the steps of one case."""

    def __init__(
        self,
        case: Case,
        address: tuple[str, int],
        source: str,
        recorder: Recorder,
        stats: Callable[[str], Mapping[str, int]],
        order: Callable[[str], None],
    ) -> None:
        """``stats`` reads the proxy's stats whose names match a pattern, ``order`` posts to a path of its admin server."""
        self._stats = stats
        self._order = order
        self._case = case
        self._address = address
        self._source = source
        self._recorder = recorder
        self._connections: dict[str, Connection] = {}
        self._actions: dict[str, Callable[[Step], None]] = {
            "send": lambda step: self._on(step).send(step.value),
            "request": lambda step: self._on(step).send(step.value),
            "read": lambda step: self._on(step).read(step.value),
            "interim": lambda step: self._on(step).read(step.value, interim=True),
            "bytes": lambda step: self._on(step).bytes(step.value),
            "closed": lambda step: self._on(step).closed(),
            "half_close": lambda step: self._on(step).half_close(),
            "reset": lambda step: self._on(step).reset(),
            "close": lambda step: self._on(step).end(),
            "connect": lambda step: self._on(step).send(b""),
            "upstream": lambda step: self._wait_upstream(step.value),
            "complete": lambda step: self._recorder.wait_complete(step.value),
            "wait": lambda step: time.sleep(step.value),
            "stat": lambda step: self._wait_stat(*step.value),
            "admin": lambda step: self._order(step.value),
        }

    def play(self) -> list[Heard]:
        """All steps in turn; what every connection has heard, by connection in order of their opening."""
        try:
            for step in self._case.steps:
                if step.action not in self._actions:
                    raise CaseError(f"{self._case.full_name}: unknown step {step.action}")
                self._actions[step.action](step)
        finally:
            for connection in self._connections.values():
                connection.end()
        return [heard for connection in self._connections.values() for heard in connection.heard]

    def _on(self, step: Step) -> Connection:
        return self._connections.get(step.on) or self._connect(step.on)

    def _connect(self, name: str) -> Connection:
        connection = self._connections[name] = Connection(self._address, self._source)
        return connection

    def _wait_stat(self, name: str, value: int) -> None:
        what = f"{self._case.full_name}: {name} is {value}"
        eventually(lambda: self._stats(name).get(name) == value, within=DEADLINE_S, what=what)

    def _wait_upstream(self, count: int) -> None:
        self._recorder.seen(count)
