"""What filters for gRPC have in common: names of methods, messages in bodies, and the counters of calls below a cluster."""

from __future__ import annotations

from isthmus_proxy.http.filters.stream_filter import Trailers
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.observe.stats_scope import StatsScope

GRPC = b"application/grpc"


def service_and_method(head: RequestHead) -> tuple[str, str] | None:
    """The two parts of ``/package.Service/Method``; None for another path."""
    parts = head.path.partition(b"?")[0].split(b"/")
    if len(parts) != 3 or parts[0] or not parts[1] or not parts[2]:
        return None
    return parts[1].decode("latin-1"), parts[2].decode("latin-1")


def value_of(fields: Headers | Trailers, wanted: bytes) -> bytes | None:
    """The value of the first field ``wanted``."""
    return next((value for name, value in fields if name == wanted), None)


class MessageCounter:
    """Counts the messages that begin in a body (a prefix of five bytes tells the length of each)."""

    __slots__ = ("_length", "_prefix", "count")

    def __init__(self) -> None:
        self.count = 0
        self._prefix = b""
        self._length = 0  # of the message that is being passed, what is left of it

    def feed(self, data: bytes) -> int:
        """Take the next bytes; answer how many messages began in them (their prefix is whole)."""
        begun, position, end = 0, 0, len(data)
        while position < end:
            if self._length:
                step = min(self._length, end - position)
                self._length -= step
                position += step
                continue
            step = min(5 - len(self._prefix), end - position)
            self._prefix += data[position : position + step]
            position += step
            if len(self._prefix) == 5:
                self._length = int.from_bytes(self._prefix[1:], "big")
                self._prefix = b""
                begun += 1
        self.count += begun
        return begun


class CallStats:
    """Counters ``<prefix>.<what>`` of calls, below a cluster; ``prefix`` is ``grpc``, maybe with service and method."""

    __slots__ = ("_prefix", "_scope")

    def __init__(self, scope: StatsScope, prefix: str) -> None:
        self._scope = scope
        self._prefix = prefix

    def ended(self, status: bytes | None) -> None:
        """A call ended with ``grpc-status``; without one nothing is counted."""
        if status is None:
            return
        self.add(status.decode("latin-1") if status.isdigit() and len(status) < 10 else "invalid")
        self.add("success" if status == b"0" else "failure")
        self.add("total")

    def add(self, what: str, count: int = 1) -> None:
        """Count."""
        self._scope.counter(f"{self._prefix}.{what}").value += count
