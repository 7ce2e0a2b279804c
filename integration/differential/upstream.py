"""Raw upstreams: they record every request as it was forwarded, byte for byte, and answer as the running case wants."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from conformance.http1.strict_reader import AmbiguousError, read_request
from differential.case import USUAL, Answer, Case
from differential.grpc_upstream import GrpcUpstream

DEADLINE_S = 10.0


@dataclass(slots=True)
class Forwarded:
    """One request, or what came over one connection, at an upstream. ``complete``: nothing more belongs to it."""

    to: str
    head: bytes
    body: bytes = b""
    complete: bool = False


class Recorder:
    """What reached any upstream since :meth:`begin`, in the order of arrival; safe for many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._seen: list[Forwarded] = []
        self._case: Case | None = None
        self._served: Counter[str] = Counter()

    def begin(self, case: Case | None) -> None:
        """Forget what was seen; answer as ``case`` says."""
        with self._changed:
            self._case = case
            self._seen = []
            self._served.clear()

    def arrived(self, to: str, head: bytes) -> tuple[Forwarded, Answer]:
        """A request's head is there: record it, and tell what to do."""
        with self._changed:
            forwarded = Forwarded(to, head)
            self._seen.append(forwarded)
            self._changed.notify_all()
            answer = self._next(to)
            key = self._key(to)
            self._served[key] += 1
            return forwarded, answer

    def on_connect(self, to: str) -> Answer | None:
        """What to do about a new connection, if the next answer begins there."""
        with self._changed:
            answer = self._next(to)
            return answer if answer.when == "connect" else None

    def finished(self, forwarded: Forwarded, body: bytes) -> None:
        """The whole request is there."""
        with self._changed:
            forwarded.body, forwarded.complete = body, True
            self._changed.notify_all()

    def more(self, forwarded: Forwarded, data: bytes) -> None:
        """More bytes of a tunnel."""
        with self._changed:
            forwarded.body += data
            self._changed.notify_all()

    def seen(self, at_least: int, within: float = DEADLINE_S) -> list[Forwarded]:
        """The record, once it has that many requests (or time is up)."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._seen) >= at_least, within)
            return list(self._seen)

    def wait_complete(self, count: int, within: float = DEADLINE_S) -> None:
        """Wait until that many requests are complete."""
        with self._changed:
            self._changed.wait_for(lambda: sum(each.complete for each in self._seen) >= count, within)

    def _key(self, to: str) -> str:
        return to if self._case is not None and to in self._case.answers else "*"

    def _next(self, to: str) -> Answer:
        if self._case is None:
            return USUAL
        key = self._key(to)
        answers = self._case.answers.get(key, ())
        number = self._served[key]
        return answers[number] if number < len(answers) else self._case.always


class Upstreams:
    """One listening socket per name; one thread a connection. Use as a context manager.

    Names that begin with ``grpc`` serve gRPC. Two more are special:
    ``refused`` is a port where nobody listens, ``blackhole`` one where connections never open.
    """

    def __init__(self, names: Iterable[str], recorder: Recorder) -> None:
        self._recorder = recorder
        self._sockets: list[socket.socket] = []
        self._servers: list[GrpcUpstream] = []
        self.ports: dict[str, int] = {}
        try:
            for name in names:
                self._open(name)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str) -> None:
        if name.startswith("grpc"):
            server = GrpcUpstream(name, self._recorder)
            self._servers.append(server)
            self.ports[name] = server.port
            return
        if name.startswith("refused"):
            # Bound and never listening: the port is ours alone from the first, and connections are refused.
            bound = socket.socket()
            self._sockets.append(bound)
            bound.bind(("127.0.0.1", 0))
            self.ports[name] = bound.getsockname()[1]
            return
        backlog = 0 if name.startswith("blackhole") else 128
        listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        port = self.ports[name] = listener.getsockname()[1]
        self._sockets.append(listener)
        if name.startswith("blackhole"):
            for _ in range(2):  # these fill the backlog; the kernel drops what comes after them
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                self._sockets.append(filler)
        else:
            threading.Thread(target=self._accept, args=(name, listener), daemon=True).start()

    def close(self) -> None:
        """Close every socket."""
        for server in self._servers:
            server.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self, name: str, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            connection = _Connection(name, sock, self._recorder)
            threading.Thread(target=connection.serve, name=f"upstream {name}", daemon=True).start()


class _Connection:
    """One connection of the proxy."""

    def __init__(self, name: str, sock: socket.socket, recorder: Recorder) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._name = name
        self._sock = sock
        self._recorder = recorder
        self._data = b""

    def serve(self) -> None:
        """Until either side closes."""
        with self._sock, contextlib.suppress(OSError):
            answer = self._recorder.on_connect(self._name)
            if answer is not None:
                forwarded, answer = self._recorder.arrived(self._name, b"")
                if not self._answer(answer, forwarded):
                    return
            while self._exchange():
                pass

    def _exchange(self) -> bool:
        """One request and its answer; False at the end of the connection."""
        while b"\r\n\r\n" not in self._data:
            if not self._receive():
                return False
        head = self._data[: self._data.index(b"\r\n\r\n")]
        forwarded, answer = self._recorder.arrived(self._name, head)
        if answer.when == "head" and not self._answer(answer, forwarded):
            return False
        while True:
            try:
                found = read_request(self._data)
            except AmbiguousError as error:
                self._recorder.finished(forwarded, f"ambiguous: {error}".encode())
                return False
            if found is not None:
                break
            if not self._receive():
                self._recorder.more(forwarded, b"unfinished")
                return False
        message, end = found
        self._data = self._data[end:]
        self._recorder.finished(forwarded, message.body)
        return answer.when == "head" or self._answer(answer, forwarded, head=message.start[0] == b"HEAD")

    def _receive(self) -> bytes:
        piece = self._sock.recv(65536)
        self._data += piece
        return piece

    def _answer(self, answer: Answer, forwarded: Forwarded, *, head: bool = False) -> bool:
        if answer.usual:
            self._sock.sendall(usual_answer(self._name, head=head))
        for delay, data in answer.pieces:
            time.sleep(delay)
            self._sock.sendall(data)
        if answer.after == "reset":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif answer.after == "hang":
            while self._sock.recv(65536):
                pass
        elif answer.after == "tunnel":
            self._tunnel(forwarded)
        return answer.after == "keep"

    def _tunnel(self, forwarded: Forwarded) -> None:
        """Send back what comes."""
        data = self._data
        self._data = b""
        while True:
            if data:
                self._recorder.more(forwarded, data)
                self._sock.sendall(data)
            data = self._sock.recv(65536)
            if not data:
                self._sock.shutdown(socket.SHUT_WR)
                return


def usual_answer(name: str, *, head: bool = False) -> bytes:
    """200 with the name of the upstream."""
    fields = b"content-type: text/plain\r\nx-upstream: %b\r\ncontent-length: 5\r\n" % name.encode()
    return b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + (b"" if head else b"hello")
