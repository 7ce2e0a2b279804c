"""A raw upstream: it records every byte that a proxy sends, reads it strictly, and answers as a case wants."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from conformance.http1.strict_reader import AmbiguousError, Message, read_request

When = Literal["request", "head"]
After = Literal["keep", "close", "reset"]


@dataclass(frozen=True, slots=True)
class Script:
    """How the upstream behaves in one case.

    Attributes:
        answers: raw bytes for the first, second ... request; later ones are answered as usual.
        when: after the whole request, or as soon as its head is there.
        after: what becomes of the connection after a scripted answer.
    """

    answers: tuple[bytes, ...] = ()
    when: When = "request"
    after: After = "keep"


USUAL = Script()


@dataclass(slots=True)
class _Recorded:
    """One connection of the proxy; ``read`` bytes of ``data`` belong to complete requests, ``start`` to earlier cases."""

    sock: socket.socket
    data: bytearray = field(default_factory=bytearray)
    read: int = 0
    start: int = 0
    answered_head: bool = False
    problem: str = ""
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What reached the upstream in one case.

    Attributes:
        requests: complete requests, in the order in which they were complete.
        problems: where bytes could be read in two ways.
        unfinished: the bytes of requests that never became complete on connections that are still open.
        raw: everything, for messages to people.
    """

    requests: tuple[Message, ...]
    problems: tuple[str, ...]
    unfinished: tuple[bytes, ...]
    raw: bytes


class Upstream:
    """Listens on a free port; one thread a connection. Use as a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._connections: list[_Recorded] = []
        self._requests: list[Message] = []
        self._script = USUAL
        self._answered = 0
        threading.Thread(target=self._accept, name="upstream", daemon=True).start()

    def begin(self, script: Script) -> None:
        """Forget what was seen; behave as ``script`` says."""
        with self._changed:
            self._script, self._answered = script, 0
            self._requests.clear()
            self._connections = [each for each in self._connections if not each.closed]
            for connection in self._connections:
                connection.start = connection.read

    def say(self, data: bytes) -> None:
        """Send bytes that nobody asked for on every open connection."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.sock.sendall(data)

    def seen(self, within: float = 2.0) -> Seen:
        """What came in since :meth:`begin`; unfinished requests get ``within`` seconds to be finished or given up."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unfinished(), within)
            problems = tuple(each.problem for each in self._connections if each.problem)
            raw = b"".join(bytes(each.data[each.start :]) for each in self._connections)
            return Seen(tuple(self._requests), problems, tuple(self._unfinished()), raw)

    def close(self) -> None:
        """Stop listening and close every connection."""
        self._listener.close()
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unfinished(self) -> list[bytes]:
        return [
            bytes(each.data[each.read :])
            for each in self._connections
            if len(each.data) > each.read and not each.closed and not each.problem
        ]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Recorded(sock)
            with self._changed:
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), name="upstream connection", daemon=True).start()

    def _serve(self, connection: _Recorded) -> None:
        with connection.sock:
            with contextlib.suppress(OSError):
                while data := connection.sock.recv(65536):
                    if not self._take(connection, data):
                        break
            with self._changed:
                connection.closed = True
                self._changed.notify_all()

    def _take(self, connection: _Recorded, data: bytes) -> bool:
        """Record, read, answer; False when the connection has to end."""
        with self._changed:
            connection.data += data
            try:
                going_on = self._answer_all(connection)
            except AmbiguousError as error:
                connection.problem, going_on = str(error), False
            self._changed.notify_all()
            return going_on

    def _answer_all(self, connection: _Recorded) -> bool:
        raw = bytes(connection.data)
        if self._script.when == "head" and not connection.answered_head and b"\r\n\r\n" in raw[connection.read :]:
            connection.answered_head = True
            if not self._answer(connection, None):
                return False
        while (found := read_request(raw, connection.read)) is not None:
            message, connection.read = found
            self._requests.append(message)
            if connection.answered_head:
                connection.answered_head = False
            elif not self._answer(connection, message):
                return False
        return True

    def _answer(self, connection: _Recorded, message: Message | None) -> bool:
        script, number = self._script, self._answered
        if number >= len(script.answers):
            connection.sock.sendall(usual_answer(message))
            return True
        self._answered += 1
        connection.sock.sendall(script.answers[number])
        if script.after == "reset":
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return script.after == "keep"


def usual_answer(message: Message | None) -> bytes:
    """200 with method and target as the body, so that an answer to another request is noticed."""
    body = b"early" if message is None else b"%b %b" % message.start[:2]
    head = b"HTTP/1.1 200 OK\r\nx-upstream: yes\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head if message is not None and message.start[0] == b"HEAD" else head + body
