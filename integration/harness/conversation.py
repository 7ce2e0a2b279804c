"""A program that makes the calls it is told to, line by line: ``METHOD ARGUMENT [NAME=VALUE ...]``, then ``ok RESULT`` or ``error WHY``."""

import queue
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.eventually import patience


class Conversation:
    """The program runs in ``home``, where its standard error becomes ``consumer.log``; it says ``ready`` first."""

    def __init__(self, argv: Sequence[str | Path], home: Path) -> None:
        self._log = (home / "consumer.log").open("w")
        self._popen = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=home,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            while self._line() != "ready":
                pass
        except BaseException:
            self.stop()
            raise

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def _line(self) -> str:
        try:
            line = self._lines.get(timeout=patience())
        except queue.Empty as error:
            raise AssertionError("the consumer says nothing; see consumer.log") from error
        if not line and self._popen.poll() is not None:
            raise AssertionError("the consumer is gone; see consumer.log")
        return line

    def call(self, method: str, argument: object, **headers: str) -> str:
        """Make a call; ``ok RESULT`` or ``error CLASS MESSAGE``."""
        assert self._popen.stdin is not None
        words = [method, str(argument), *(f"{name}={value}" for name, value in headers.items())]
        self._popen.stdin.write(" ".join(words) + "\n")
        self._popen.stdin.flush()
        while True:
            line = self._line()  # libraries print to standard output, too
            if line.startswith(("ok ", "error ")):
                return line

    def stop(self) -> None:
        """End it."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        self._popen.kill()
        self._popen.wait()
        self._reader.join(5)
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
