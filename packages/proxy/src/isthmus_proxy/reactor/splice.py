"""Bytes from one connection to another through a pipe, without a copy of them in this process (Linux, splice(2)).

The kernel moves references to its pages from the one socket's queue into a pipe and from there into the other's. A connection that
is read this way still belongs to its owner, who is told how much has passed, and may end it at any time: what the pipe then holds
is read out of it and written like any other bytes. Where it cannot be done (no pipe to be had, a socket that will not) reading goes
on as usual.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from isthmus_proxy.reactor.connection import Connection

PIPE_BYTES = 262144
"""What a pipe shall hold: as much as one large read. More was not faster, and keeps other connections waiting."""

MAX_PIPES = 256
"""Pipes that hold something at a time; beyond, bytes are copied. Each costs two descriptors."""

MAX_SPARE_PIPES = 16
"""Empty pipes kept for the next one."""

WORTH_BYTES = 131072
"""What must still be to come for a body to be passed on this way: two system calls a piece pay only for large pieces."""

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_ENDLESS = 1 << 62


class Passenger(Protocol):
    """Who owns the connection that is read."""

    def spliced(self, size: int) -> None:
        """So many more bytes were read; they count like bytes received."""

    def splice_done(self) -> None:
        """The last of the bytes asked for has been sent: reading goes on as usual."""


class Pipe:
    """One pipe and how much it holds at most."""

    __slots__ = ("read_fd", "size", "write_fd")

    def __init__(self) -> None:
        """Raise OSError if there is none to be had."""
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.size = 65536
        with contextlib.suppress(OSError):  # a user who may have no larger ones
            self.size = fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close(self) -> None:
        """Give back both ends, and what is in between."""
        os.close(self.read_fd)
        os.close(self.write_fd)


class Pipes:
    """The pipes of one reactor. ``in_use`` hold something, ``refused`` counts how often there was none to be had."""

    __slots__ = ("_spare", "in_use", "refused")

    def __init__(self) -> None:
        self._spare: list[Pipe] = []
        self.in_use = 0
        self.refused = 0

    def take(self) -> Pipe | None:
        """An empty pipe, or None."""
        if self.in_use >= MAX_PIPES:
            self.refused += 1
            return None
        pipe: Pipe | None = None
        if self._spare:
            pipe = self._spare.pop()
        else:
            try:
                pipe = Pipe()
            except OSError:
                self.refused += 1
                return None
        self.in_use += 1
        return pipe

    def give_back(self, pipe: Pipe, *, empty: bool) -> None:
        """Keep an empty pipe for the next one; close one that is not."""
        self.in_use -= 1
        if empty and len(self._spare) < MAX_SPARE_PIPES:
            self._spare.append(pipe)
        else:
            pipe.close()

    def counts(self) -> dict[str, int]:
        """What stats show."""
        return {"in_use_size": self.in_use, "spare_size": len(self._spare), "refused": self.refused}

    def close(self) -> None:
        """Close those that wait for use."""
        for pipe in self._spare:
            pipe.close()
        self._spare.clear()


class Splice:
    """``length`` bytes (None: all) from ``source`` to ``sink``. Both know of it, and both tell it when they are closed.

    ``held`` is how much the pipe holds: read from the one, not yet taken by the other.
    """

    __slots__ = ("_owner", "_pipe", "_pipes", "_remaining", "_sink", "_source", "held")

    def __init__(
        self, pipes: Pipes, source: Connection, sink: Connection, length: int | None, owner: Passenger
    ) -> None:
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._source = source
        self._sink = sink
        self._remaining = _ENDLESS if length is None else length
        self._owner = owner
        self.held = 0
        source.outflow = sink.inflow = self

    def fill(self) -> None:
        """``source`` can be read: pass on what there is."""
        source, pipes = self._source, self._pipes
        if self.held:
            source.stall()
            return
        if self._remaining == 0:
            self._undo()
            source.read()
            return
        pipe = pipes.take()
        if pipe is None:
            size = -1
        else:
            try:
                size = self._splice_in(pipe)
            except OSError as error:
                pipes.give_back(pipe, empty=True)
                source.broke(error)  # the kernel tells an error once: reading would find a mere end
                return
        if pipe is None or size <= 0:
            if pipe is not None:
                pipes.give_back(pipe, empty=True)
            if size:
                self._undo()  # nothing more this way: an end, or bytes to copy
                source.read()
            return
        self._pipe = pipe
        self.held = size
        self._remaining -= size
        source.bytes_in += size
        self._owner.spliced(size)
        if self._pipe is pipe and self._sink.idle_output:
            self._sink.flush()

    def _splice_in(self, pipe: Pipe) -> int:
        """How many bytes came into the pipe; 0 if there are none now, -1 if none will come this way. Raises OSError."""
        try:
            size = os.splice(self._source.fd, pipe.write_fd, min(self._remaining, pipe.size), flags=_FLAGS)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return -1
        return size or -1

    def drain(self) -> bool:
        """``sink`` can take bytes: give it what the pipe holds, and answer whether that was all. Raises OSError."""
        pipe = self._pipe
        if pipe is None:
            return True
        sink = self._sink
        while self.held:
            try:
                size = os.splice(pipe.read_fd, sink.fd, self.held, flags=_FLAGS)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._spill(pipe)
                self._undo()
                return True
            self.held -= size
            sink.bytes_out += size
        self._pipe = None
        self._pipes.give_back(pipe, empty=True)
        if self._remaining:
            self._source.unstall()
        return True

    @property
    def complete(self) -> bool:
        """Whether all bytes asked for have been sent."""
        return self._remaining == 0 and not self.held

    def finish(self) -> None:
        """All bytes have been sent: leave both connections, and say so."""
        self._undo()
        self._owner.splice_done()

    def source_closed(self) -> None:
        """Nothing more will come; what came already goes on its way."""
        pipe = self._pipe
        if pipe is not None:
            self._spill(pipe)
        if pipe is not None and self._remaining == 0:
            self.finish()
        else:
            self._undo()

    def sink_closed(self) -> None:
        """Nobody wants the bytes; what the pipe holds is lost with it."""
        if self._pipe is not None:
            self._pipes.give_back(self._pipe, empty=False)
            self._pipe = None
            self.held = 0
        self._undo()

    def spill(self) -> None:
        """Others want to write to ``sink`` as well: let what the pipe holds go before it."""
        pipe = self._pipe
        if pipe is not None:
            self._spill(pipe)
            if self._remaining:
                self._source.unstall()

    def _spill(self, pipe: Pipe) -> None:
        """Read the pipe empty and have the bytes written as usual."""
        data = b""
        while self.held > len(data):
            data += os.read(pipe.read_fd, self.held - len(data))
        self._pipe = None
        self.held = 0
        self._pipes.give_back(pipe, empty=True)
        self._sink.write(data)

    def _undo(self) -> None:
        source = self._source
        source.outflow = self._sink.inflow = None
        source.unstall()
