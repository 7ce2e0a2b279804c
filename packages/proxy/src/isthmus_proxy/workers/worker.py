"""The parent's view of one worker process: its pid, its connection, and questions to it."""

from __future__ import annotations

import socket
from typing import Any

import trio

from isthmus_proxy.workers.frames import STARTED, FrameError, FrameReader, frame

MAX_QUESTIONS = 64
"""Questions that may wait for one worker's answer; more are answered by nobody."""

ANSWER_SECONDS = 10.0


class NoAnswerError(Exception):
    """The worker did not answer in time, or is gone."""


class Worker:
    """A forked worker. The connection's state outlives one run of trio's loop; questions do not."""

    __slots__ = ("_next", "_questions", "_reader", "_sock", "pid", "pidfd", "slot", "started", "started_at")

    def __init__(self, slot: int, pid: int, pidfd: int, sock: socket.socket, started_at: float) -> None:
        sock.setblocking(False)
        self.slot = slot
        self.pid = pid
        self.pidfd = pidfd
        self.started = False
        self.started_at = started_at
        self._sock = sock
        self._reader = FrameReader()
        self._next = STARTED
        self._questions: dict[int, tuple[trio.Event, list[dict[str, Any]]]] = {}

    def forget_questions(self) -> None:
        """Whoever asked is gone: the answers will be dropped."""
        self._questions.clear()

    def close(self) -> None:
        """The process has ended."""
        self._sock.close()
        for event, _ in self._questions.values():
            event.set()
        self.forget_questions()

    async def ask(self, message: dict[str, object]) -> dict[str, Any]:
        """Send a question and wait for its answer. Raises NoAnswerError."""
        if len(self._questions) >= MAX_QUESTIONS:
            raise NoAnswerError
        self._next += 1
        number, arrived = self._next, trio.Event()
        answers: list[dict[str, Any]] = []
        data = frame({**message, "id": number})
        try:
            if self._sock.send(data) != len(data):
                raise NoAnswerError
        except OSError as error:
            raise NoAnswerError from error
        self._questions[number] = (arrived, answers)
        with trio.move_on_after(ANSWER_SECONDS):
            await arrived.wait()
        self._questions.pop(number, None)
        if not answers:
            raise NoAnswerError
        return answers[0]

    async def receive(self) -> None:
        """Take the worker's messages until it closes the connection."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(1 << 20)
                messages = list(self._reader.receive(data))
            except (BlockingIOError, InterruptedError):
                continue
            except (OSError, FrameError):
                return
            if not data:
                return
            for message in messages:
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if message["id"] == STARTED:
            self.started = True
            return
        waiting = self._questions.get(message["id"])
        if waiting is not None:
            waiting[1].append(message)
            waiting[0].set()
