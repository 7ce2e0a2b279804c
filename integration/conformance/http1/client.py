"""Sends the bytes of a case and gathers what comes back."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from conformance.http1.case import CLOSED, OPTIONAL, Case
from conformance.http1.strict_reader import AmbiguousError, Message, read_response

DEADLINE_S = 5.0
SETTLE_S = 0.03
"""How long bytes that should not come are waited for after those that should."""
NO_ANSWER_S = 0.2
"""The same, where no answer at all is expected."""


@dataclass(slots=True)
class Heard:
    """What came back: complete answers, bytes that are none, and whether the proxy closed."""

    answers: list[Message]
    rest: bytes = b""
    closed: bool = False
    problem: str = ""

    @property
    def finals(self) -> int:
        """How many of the answers are not interim ones."""
        return sum(answer.status >= 200 or answer.status == 101 for answer in self.answers)


def _interim(allowed: frozenset[int]) -> bool:
    return all(status in range(102, 200) or status in (100, OPTIONAL) for status in allowed)


class Conversation:
    """One connection to the proxy."""

    def __init__(self, port: int, case: Case) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._case = case
        self._data = b""
        self._closed = False
        self._deadline = time.monotonic() + DEADLINE_S

    def close(self) -> None:
        """End it."""
        self._sock.close()

    def run(self, step: int) -> Heard:
        """Send everything, ``step`` bytes at a time, and listen until the case must be over."""
        self._send(self._case.send, step)
        if self._case.then:
            self._listen(lambda heard: bool(heard.answers))
            self._send(self._case.then, step)
        expected = sum(allowed != {CLOSED} and not _interim(allowed) for allowed in self._case.statuses)
        heard = self._listen(lambda heard: not self._case.closes and heard.finals >= expected)
        if heard.closed or heard.problem:
            return heard
        self._deadline = time.monotonic() + (SETTLE_S if expected else NO_ANSWER_S)
        return self._listen(lambda heard: False)

    def _send(self, data: bytes, step: int) -> None:
        try:
            for position in range(0, len(data), step):
                self._sock.sendall(data[position : position + step])
        except OSError:  # a proxy that has refused may close before it has read everything
            return

    def _listen(self, enough: Callable[[Heard], bool]) -> Heard:
        while True:
            heard = self._parse()
            if heard.problem or heard.closed or enough(heard):
                return heard
            self._sock.settimeout(max(self._deadline - time.monotonic(), 0.001))
            try:
                piece = self._sock.recv(65536)
            except TimeoutError:
                return heard
            except OSError:
                piece = b""
            self._data += piece
            self._closed = not piece

    def _parse(self) -> Heard:
        answers: list[Message] = []
        position = finals = 0
        try:
            while position < len(self._data):
                method = self._case.methods[finals] if finals < len(self._case.methods) else b"GET"
                found = read_response(self._data, position, method=method, eof=self._closed)
                if found is None:
                    break
                message, position = found
                answers.append(message)
                finals += message.status >= 200
        except AmbiguousError as error:
            return Heard(answers, self._data[position:], self._closed, f"answer is ambiguous: {error}")
        return Heard(answers, self._data[position:], self._closed)
