"""One connection to an endpoint, shared by the requests of many clients: each gets an identifier of this connection's own.

Theory of operation. ``pending`` maps the identifiers in use to who asked: the burst, the identifier that the client gave, and
the frame if it may be needed again. A response finds its client there and nowhere else, and is forgotten with that; so no
response can reach a wrong request as long as no identifier is given out twice. One whose request timed out is not given out
again before its late response came, or the connection is gone. Timeouts are looked for by one timer a connection, set to the earliest
deadline, since nearly none ever passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isthmus_proxy.codec.rpc import (
    GOAWAY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    REQUEST,
    RESPONSE,
    SEALED,
    Frame,
    RpcProtocolError,
)
from isthmus_proxy.http.local_reply import CONNECTION_TERMINATION, CONNECTION_TIMEOUT, REMOTE_CONNECTION_FAILURE
from isthmus_proxy.reactor.connection import Connection
from isthmus_proxy.rpc.burst import Burst
from isthmus_proxy.rpc.frame_buffer import FrameBuffer
from isthmus_proxy.rpc.heartbeat import Beat, Heartbeat
from isthmus_proxy.upstream.connecting import Connecting, end_of
from isthmus_proxy.upstream.transports import NO_OPTIONS

if TYPE_CHECKING:
    from isthmus_proxy.http.stream_info import UpstreamEnd
    from isthmus_proxy.rpc.pool import RpcPool
    from isthmus_proxy.rpc.requester import RpcRequester

Pending = tuple[Burst, int, bytes | None]

TIMER_GRAIN = 0.01
"""Seconds between two looks for requests that timed out: sofa-bolt's own timer is not finer."""

MAX_ABANDONED: Final = 4096
"""Identifiers of requests that timed out and may still be answered; with more, the connection takes no more requests."""


class RpcUpstreamConnection:
    """See the module. ``usable``: it takes requests, even while it is being connected; ``queued`` is how many wait for that."""

    __slots__ = (
        "_codec", "_connecting", "_connection", "_early", "_heartbeat", "_heartbeat_timer", "_partial", "_split", "abandoned", "bound_to",
        "closed", "connecting", "end", "form", "last_id", "last_read", "opened_at", "pending", "pool", "proxy", "queued", "timer", "usable",
        "waiting",
    )  # fmt: skip

    def __init__(self, pool: RpcPool, form: int) -> None:
        self.pool = pool
        self.proxy = pool.proxy
        self._codec = pool.proxy.codec
        self._split = self._codec.split
        self.form = form
        self.pending: dict[int, Pending] = {}
        self.abandoned: set[int] = set()
        self.last_id = pool.proxy.first_id
        self.usable = True
        self.closed = False
        self.connecting = True
        self.queued = 0
        self.waiting: set[RpcRequester] = set()
        self.bound_to: RpcRequester | None = None
        self._connection: Connection | None = None
        self._early: list[bytes] = []
        self._partial = FrameBuffer()
        reactor = pool.proxy.reactor
        self.opened_at = self.last_read = reactor.now
        self.timer = reactor.timer(self._expire)
        self._heartbeat: Heartbeat | None = None
        self._heartbeat_timer = reactor.timer(self._tick)
        self.end: UpstreamEnd | None = None
        limit, transports = pool.cluster.config.per_connection_buffer_limit_bytes, pool.proxy.transports
        self._connecting = Connecting(
            transports, pool.cluster, pool.endpoint, NO_OPTIONS, (), self, limit, self._opened, self._connect_failed
        )

    def open(self) -> None:
        """Begin to connect."""
        self._heartbeat_timer.set(self.opened_at + self.pool.cluster.config.connect_timeout)
        self._connecting.start()

    # ---- requests ----

    @property
    def blocked(self) -> bool:
        """Whether too much waits to be sent."""
        return self._connection is not None and self._connection.blocked

    def next_id(self) -> int:
        """An identifier that is not in use."""
        mask = self._codec.id_mask
        identifier = self.last_id
        while True:
            identifier = (identifier + 1) & mask
            if identifier not in self.pending and identifier not in self.abandoned:
                self.last_id = identifier
                return identifier

    def send(self, data: bytes) -> None:
        """Send whole frames, once connected."""
        if self._connection is not None:
            self._connection.write(data)
        else:
            self._early.append(data)

    def _opened(self, connection: Connection) -> None:
        self._heartbeat_timer.cancel()
        self.connecting = False
        self.pool.connected(self)
        self._connection = connection
        self.end = end_of(connection)
        for data in self._early:
            connection.write(data)
        self._early.clear()
        now = self.last_read = self.proxy.reactor.now
        if self._codec.heartbeat(0, self.form):
            self._heartbeat = Heartbeat(self.proxy.config.heartbeat, now)
            self._heartbeat_timer.set(self._heartbeat.due)

    def _connect_failed(self, error: OSError) -> None:
        del error
        self._never_connected(REMOTE_CONNECTION_FAILURE)

    def _never_connected(self, reason: str) -> None:
        pool = self.pool
        pool.connect_failed(self, timed_out=reason == CONNECTION_TIMEOUT)
        self._end(reason, sent=False, remote=True)

    # ---- responses ----

    def data_received(self, data: bytes) -> None:
        """See Receiver."""
        self.last_read = self.proxy.reactor.now
        self.pool.cluster.stats.upstream_cx_rx_bytes_total.value += len(data)
        if self._partial.size:
            data = self._partial.add(data)
            if not data:
                return
        while True:
            try:
                frames, end, need = self._split(data, self.proxy.limits.max_frame_bytes)
            except RpcProtocolError:
                self.pool.cluster.stats.upstream_cx_protocol_error.value += 1
                self.close()
                return
            if not frames:
                break
            self._answer(data, frames)
            if end == len(data):
                return
            data = data[end:]
            if need or self.closed:
                break
        if data and not self.closed:
            self._partial.keep(data, need)

    def _answer(self, data: bytes, frames: list[Frame]) -> None:
        """Hand the responses of one read to those who asked: runs of one burst in one piece."""
        pop = self.pending.pop
        codec = self._codec
        pack, success, logs = codec.id_format.pack_into, codec.success, self.proxy.logs
        buffer = bytearray(data)
        run: Burst | None = None
        count = first = last = 0
        for frame in frames:
            kind, start, end, identifier, id_at, _, _, extra, _ = frame
            if kind == RESPONSE and extra == success:
                entry = pop(identifier, None)
                if entry is not None:
                    burst, original, _ = entry
                    if burst is not run or start != last:
                        if run is not None:
                            self._deliver(run, count, buffer, first, last)
                        run, count, first = burst, 0, start
                    pack(buffer, id_at, original)
                    last = end
                    count += 1
                    if logs:
                        self.proxy.log(entry, 200, end - start)
                    continue
            if run is not None:
                self._deliver(run, count, buffer, first, last)
                run = None
            self._unusual(data, frame)
        if run is not None:
            self._deliver(run, count, buffer, first, last)
        if not self.usable and not self.pending:
            self.close()

    def _deliver(self, burst: Burst, count: int, buffer: bytearray, first: int, last: int) -> None:
        """Give ``count`` successful responses, which lie side by side in ``buffer``, to the client of ``burst``."""
        whole = first == 0 and last == len(buffer)
        burst.downstream.answer(bytes(buffer) if whole else bytes(memoryview(buffer)[first:last]), count)
        self.pool.completed(burst, count, 200)
        self.proxy.completed(burst, count)

    def _unusual(self, data: bytes, frame: Frame) -> None:
        """Everything but a response without error whose request is known."""
        kind, start, end, identifier, _, _, _, extra, form = frame
        kind &= ~SEALED
        if kind == RESPONSE:
            entry = self.pending.pop(identifier, None)
            if entry is None:
                self._unknown(identifier)
                return
            status = 200 if extra == self._codec.success else self._codec.http_status(extra)
            self.proxy.responded(self, entry, status, data[start:end])
        elif kind == HEARTBEAT_REPLY:
            if self._heartbeat is not None:
                self._heartbeat.answered(self.proxy.reactor.now)
                self._heartbeat_timer.set(self._heartbeat.due)
        elif kind == HEARTBEAT:
            self.send(self._codec.heartbeat_reply(data[start:end]))
        elif kind == GOAWAY:
            self.proxy.stats.upstream_goaway.value += 1
            self.pool.cluster.stats.upstream_cx_close_notify.value += 1
            self.retire()
        elif kind == REQUEST:  # servers may ask clients, but of a shared connection nobody knows which one
            self.send(self._codec.error(identifier, form, 404, "the proxy takes no requests from this side"))

    def _unknown(self, identifier: int) -> None:
        """A response to nothing that is waited for: the request timed out, or there never was one."""
        self.abandoned.discard(identifier)
        self.proxy.stats.unknown_response.value += 1

    # ---- time ----

    def _expire(self) -> None:
        """Give up the requests whose deadline has come, and look again at the next one's."""
        now = self.proxy.reactor.now
        due = [identifier for identifier, entry in self.pending.items() if entry[0].deadline <= now]
        for identifier in due:
            entry = self.pending.pop(identifier)
            self.abandoned.add(identifier)
            if self.queued:
                self.pool.dequeued(self, 1)
            self.proxy.timed_out(self, entry)
        if len(self.abandoned) > MAX_ABANDONED:
            self.retire()
        if not self.usable and not self.pending:
            self.close()
        elif self.pending:
            following = min([entry[0].deadline for entry in self.pending.values()])
            self.timer.set(max(following, now + TIMER_GRAIN))

    def _tick(self) -> None:
        now = self.proxy.reactor.now
        if self.connecting:
            self._connecting.cancel()
            self._never_connected(CONNECTION_TIMEOUT)
            return
        heartbeat = self._heartbeat
        if heartbeat is None:
            return
        if self.pool.endpoint.removed:
            self.retire()
            return
        missed = heartbeat.missed
        beat = heartbeat.tick(now, self.last_read)
        self.proxy.stats.upstream_heartbeat_missed.value += heartbeat.missed - missed
        if beat is Beat.GIVE_UP:
            self.close()
            return
        if beat is Beat.SEND:
            self.proxy.stats.upstream_heartbeats.value += 1
            self.send(self._codec.heartbeat(self.next_id(), self.form))
        self._heartbeat_timer.set(heartbeat.due)

    # ---- the end ----

    def retire(self) -> None:
        """Take no more requests, and close once those that run are answered."""
        self.usable = False
        self.pool.retired(self)
        if not self.pending:
            self.close()

    def close(self) -> None:
        """Close at once: what is pending fails."""
        if self.connecting:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()
        self._end(CONNECTION_TERMINATION, sent=True, remote=False)

    def _end(self, reason: str, *, sent: bool, remote: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self.usable = False
        self.pool.closed(self, remote=remote)
        self.timer.discard()
        self._heartbeat_timer.discard()
        self._early.clear()
        pending = list(self.pending.values())
        self.pending.clear()
        self.low_watermark_reached()
        for entry in pending:
            self.proxy.lost(self, entry, reason, sent=sent)
        if self.bound_to is not None:
            self.bound_to.upstream_gone(self)

    def eof_received(self) -> None:
        """See Receiver: a peer that closed half of the connection gives no more answers."""
        if self._connection is not None:
            self._connection.close()
        self._end(CONNECTION_TERMINATION, sent=True, remote=True)

    def connection_lost(self, error: OSError) -> None:
        """See Receiver."""
        del error
        self._end(CONNECTION_TERMINATION, sent=True, remote=True)

    def high_watermark_reached(self) -> None:
        """See Receiver: clients that send to this connection are paused as they come."""

    def low_watermark_reached(self) -> None:
        """See Receiver."""
        for downstream in list(self.waiting):
            downstream.resume()
        self.waiting.clear()

    def drained(self) -> None:
        """See Receiver; never asked for."""
