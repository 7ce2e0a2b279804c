"""The suite ``websocket``: each conversation with the origin itself, then through the proxy; both have to be the same."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.result import Outcome, verdict
from conformance.subject import http_proxy
from conformance.websocket.cases import Case, cases
from conformance.websocket.frames import close
from conformance.websocket.origin import WebSocketOrigin
from harness.eventually import eventually

NAME = "websocket"
PEERS = ("envoy", "haproxy")
DEADLINE_S = 10.0
HEADERS = ("connection", "upgrade", "sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions")


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a client saw: status, the headers of a handshake, every byte after it, and whether it came to an end."""

    status: int
    headers: tuple[tuple[str, str], ...]
    received: bytes
    ended: bool


def run(subject: str, folder: Path) -> Iterator[Outcome]:
    """Ask the subject, upgrades allowed."""
    with WebSocketOrigin() as origin, http_proxy(subject, origin.port, folder, websocket=True) as port:
        for case in cases():
            direct, proxied = converse(case, origin.port), converse(case, port)
            yield verdict(NAME, case.name, _differences(direct, proxied))
        yield verdict(NAME, "10-end/client-breaks-off", _client_breaks_off(origin, port))


def _differences(direct: Transcript, proxied: Transcript) -> Iterator[str]:
    if direct.status == 0:
        yield "the origin itself did not answer"
    if direct.status != proxied.status:
        yield f"the handshake was answered {proxied.status}, without a proxy {direct.status}"
        return
    if direct.status != 101:
        return
    if direct.headers != proxied.headers:
        yield f"the handshake was answered with {proxied.headers}, without a proxy {direct.headers}"
    if direct.received != proxied.received:
        ours, theirs = proxied.received, direct.received
        yield f"received {len(ours)} bytes {ours[:40]!r}, without a proxy {len(theirs)} bytes {theirs[:40]!r}"
    if direct.ended and not proxied.ended:
        yield "the connection stayed open, without a proxy it was closed"


def converse(case: Case, port: int) -> Transcript:
    """Hold one conversation."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        payload = case.send + (b"" if case.ends else close())
        head = handshake(case)
        sock.sendall(head + payload if case.early else head)
        buffer = _read_head(sock)
        status, headers, rest = _parse(buffer)
        if status != 101:
            return Transcript(status, headers, b"", ended=True)
        if not case.early:
            # From a thread: an echo of more than the buffers hold would wait for us to read.
            threading.Thread(target=_send, args=(sock, payload, case.step), daemon=True).start()
        received, ended = _read_all(sock)
        return Transcript(status, headers, rest + received, ended)


def handshake(case: Case) -> bytes:
    """The request."""
    lines = [f"{case.method} {case.path} HTTP/1.1", "Host: origin.test", *(f"{k}: {v}" for k, v in case.headers)]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def _send(sock: socket.socket, data: bytes, step: int) -> None:
    with contextlib.suppress(OSError):  # the other side may have had enough
        for start in range(0, len(data), step or len(data) or 1):
            sock.sendall(data[start : start + (step or len(data))])


def _read_head(sock: socket.socket) -> bytes:
    buffer = b""
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in buffer and (piece := sock.recv(65536)):
            buffer += piece
    return buffer


def _parse(buffer: bytes) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Status, the headers that matter, and what follows; status 0 for what is no answer."""
    head, found, rest = buffer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.1 (\d{3})(?: .*)?", lines[0])
    if match is None or not found:
        return 0, (), buffer
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    kept = [(name, value.lower() if name in HEADERS[:2] else value) for name, value in fields if name in HEADERS]
    return int(match[1]), tuple(sorted(kept)), rest


def _read_all(sock: socket.socket) -> tuple[bytes, bool]:
    """Everything up to the end of the connection, or to the deadline."""
    pieces: list[bytes] = []
    deadline = time.monotonic() + DEADLINE_S
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            piece = sock.recv(1 << 18)
        except TimeoutError:
            break
        except OSError:
            return b"".join(pieces), True
        if not piece:
            return b"".join(pieces), True
        pieces.append(piece)
    return b"".join(pieces), False


def _client_breaks_off(origin: WebSocketOrigin, port: int) -> Iterator[str]:
    case = Case("")
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as sock:
        sock.sendall(handshake(case))
        status, _, _ = _parse(_read_head(sock))
    if status != 101:
        yield f"the handshake was answered {status}"
        return
    try:
        eventually(lambda: origin.open == 0, within=DEADLINE_S, what="the origin hears of it")
    except AssertionError:
        yield "the origin was not told that the client is gone"
