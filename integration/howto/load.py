"""Dubbo consumers that call without a pause: each call is counted, and none is made twice."""

from __future__ import annotations

import threading
import time

from harness.conversation import Conversation

PAUSE_S = 0.02


class Load:
    """Calls ``greet`` of one consumer from a thread of its own until it is stopped."""

    def __init__(self, consumer: Conversation) -> None:
        self.succeeded = 0
        self.failures: list[str] = []
        self._consumer = consumer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    @property
    def calls(self) -> int:
        """How many there were."""
        return self.succeeded + len(self.failures)

    def stop(self) -> None:
        """Make no more calls; returns when the last one has ended."""
        self._ended.set()
        self._thread.join()

    def _call(self) -> None:
        while not self._ended.is_set():
            try:
                answer = self._consumer.call("greet", "hello")
            except (AssertionError, OSError) as error:
                self.failures.append(str(error))
                return
            if answer.startswith("ok provider-") and answer.endswith(" hello"):
                self.succeeded += 1
            else:
                self.failures.append(answer)
            time.sleep(PAUSE_S)
