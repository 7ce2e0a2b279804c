"""A connection while listener filters look at its first bytes: peeked at, never waited for longer than configured.

Bytes stay in the kernel (MSG_PEEK), so whoever serves the connection reads them as if nobody had looked; only a PROXY
header is taken off. The descriptor is watched edge-triggered meanwhile: what was seen and did not suffice wakes nobody again.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence

from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.listener_filters import WAIT, ConfiguredFilter, RefusedConnectionError, applies
from isthmus_proxy.reactor.reactor import READ, Reactor

_EDGE = READ | select.EPOLLET | select.EPOLLRDHUP
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class PendingConnection:
    """Calls ``done(self, ...)`` once: with None when all filters are through, else with the reason of the close.

    Reasons: ``refused``, ``remote_close``, ``error``, ``timeout``. The socket is not watched any more by then, and still open.
    """

    __slots__ = ("_at", "_done", "_filters", "_reactor", "_timeout", "_timer", "_watched", "accepted", "handed_over")

    def __init__(
        self,
        reactor: Reactor,
        accepted: AcceptedSocket,
        filters: Sequence[ConfiguredFilter],
        timeout: float,
        done: Callable[[PendingConnection, str | None], None],
    ) -> None:
        self.accepted = accepted
        self.handed_over = False
        self._reactor = reactor
        self._filters = filters
        self._timeout = timeout
        self._done = done
        self._at = 0
        self._watched = False
        self._timer = reactor.timer(self._timed_out)

    def start(self) -> None:
        """Look at what is there already, and wait for the rest."""
        self._advance(0)

    def close(self) -> None:
        """Give up, without a word to ``done``."""
        self._leave()
        self._reactor.close(self.accepted.sock)

    def faulted(self) -> None:
        """A filter raised what it should not have."""
        self._finish("error")

    def _advance(self, mask: int) -> None:
        filters, accepted = self._filters, self.accepted
        while self._at < len(filters):
            each = filters[self._at]
            if not applies(each.disabled, accepted):
                try:
                    taken = self._inspect(each, mask)
                except RefusedConnectionError:
                    self._finish("refused")
                    return
                except OSError:
                    self._finish("error")
                    return
                except EOFError:
                    self._finish("remote_close")
                    return
                if taken == WAIT:
                    self._wait()
                    return
            self._at += 1
        self._finish(None)

    def _inspect(self, each: ConfiguredFilter, mask: int) -> int:
        """Run a filter on what is there. Raises EOFError if it wants more and there will be none."""
        limit = each.inspector.max_bytes
        if not limit:
            return each.inspector.inspect(self.accepted, b"")
        sock = self.accepted.sock
        try:
            data = sock.recv(limit, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return WAIT
        if not data:
            raise EOFError
        taken = each.inspector.inspect(self.accepted, data)
        if taken == WAIT and mask & _ENDED:
            raise EOFError
        if taken > 0:
            sock.recv(taken)
        return taken

    def _wait(self) -> None:
        if not self._watched:
            self._watched = True
            self._reactor.register(self.accepted.sock.fileno(), _EDGE, self._advance)
            if self._timeout:
                self._timer.set(self._reactor.now + self._timeout)

    def _timed_out(self) -> None:
        self._finish("timeout")

    def _finish(self, reason: str | None) -> None:
        self._leave()
        self._done(self, reason)

    def _leave(self) -> None:
        self._timer.discard()
        if self._watched:
            self._watched = False
            self._reactor.unregister(self.accepted.sock.fileno())
