"""A child process with bounded, readable output, that never outlives its parent."""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from harness.eventually import patience

LOG_LIMIT = (
    8 << 20
)  # bytes of output kept in the file; a run that says more is chatty for a reason seen in its first part
TAIL_LIMIT = 64 << 10
STOP_S = 10.0

_running: "weakref.WeakSet[Process]" = weakref.WeakSet()


class ProcessError(RuntimeError):
    """A program did not start, died, or did not stop; the message ends with the tail of its output."""


class Process:
    """One program. Construction starts it; use it as a context manager or call :meth:`stop`.

    Start it from a thread that lives as long as the program should: the kernel's parent-death signal, which makes sure that
    no child survives a killed parent, is sent when the starting thread ends.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log = log
        self._tail = bytearray()
        self._popen = subprocess.Popen(
            [*_death_signal(), *self.argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            start_new_session=True,  # Ctrl-C is for the parent, which then stops its children in order
        )
        _running.add(self)
        self._reader = threading.Thread(target=self._drain, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: the signal), None while it runs."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def wait_until(self, ready: Callable[[], object], *, within: float | None = None, what: str = "ready") -> None:
        """Wait until ``ready()`` is true (an OSError counts as not yet); fail at once when the program ends before."""
        deadline = time.monotonic() + (patience() if within is None else within)
        while True:
            with contextlib.suppress(OSError):
                if ready():
                    return
            if not self.running:
                self._reader.join(1)
                raise ProcessError(self.describe(f"ended with {self.returncode} before it was {what}"))
            if time.monotonic() > deadline:
                raise ProcessError(self.describe(f"was not {what} in time"))
            time.sleep(0.02)

    def wait(self, within: float | None = None) -> int:
        """Wait for the program to end by itself; return its exit status."""
        try:
            status = self._popen.wait(patience() if within is None else within)
        except subprocess.TimeoutExpired:
            raise ProcessError(self.describe("did not end in time")) from None
        self._reader.join(1)
        return status

    def terminate(self) -> None:
        """Send SIGTERM and do not wait."""
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself (not to its children)."""
        if self.running:
            self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL the program and its children, as a crash would."""
        self._signal_group(signal.SIGKILL)
        self._popen.wait()
        self._reader.join(1)

    def stop(self, within: float = STOP_S) -> int:
        """SIGTERM, then SIGKILL for what is left after ``within`` seconds; return the exit status."""
        if self.running:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(within)
        self._signal_group(signal.SIGKILL)
        status = self._popen.wait()
        self._reader.join(1)
        return status

    def tail(self, lines: int = 40) -> str:
        """The last lines of standard output and standard error together."""
        return "\n".join(bytes(self._tail).decode(errors="replace").splitlines()[-lines:])

    def describe(self, happened: str) -> str:
        """A message for people: what happened, the command, the end of the output."""
        where = f" (whole output: {self.log})" if self.log else ""
        return f"{self.name} (pid {self.pid}) {happened}: {' '.join(self.argv)}{where}\n{self.tail()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _drain(self) -> None:
        stream = self._popen.stdout
        if stream is None:
            return
        with stream, contextlib.ExitStack() as stack:
            file = stack.enter_context(self.log.open("ab")) if self.log else None
            room = LOG_LIMIT
            while chunk := os.read(stream.fileno(), 65536):
                room = _append(file, chunk, room)
                self._tail += chunk
                del self._tail[:-TAIL_LIMIT]


def _append(file: IO[bytes] | None, chunk: bytes, room: int) -> int:
    if file is not None and room > 0:
        file.write(chunk[:room])
        file.flush()
    return room - len(chunk)


def _death_signal() -> list[str]:
    """The prefix that makes the kernel kill the child when we die; util-linux' setpriv does it without code between fork and exec."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def run(
    argv: Sequence[str | Path], *, within: float = 120, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, its output captured as text; the caller looks at ``returncode``."""
    return subprocess.run(
        [str(part) for part in argv],
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
        env={**os.environ, **(env or {})},
    )


@atexit.register
def _stop_all() -> None:
    for process in list(_running):
        if process.running:
            process.kill()
