"""One client connection: its requests go on in bursts, its responses come back in any order.

The loop in ``_forward`` is the hottest of the proxy, which is why it is one function: requests of one read that go the same way
are given their new identifiers in a copy of the bytes, and each run of them is sent in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.codec.rpc import (
    GOAWAY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    ONE_WAY,
    REQUEST,
    SEALED,
    Frame,
    RpcProtocolError,
)
from isthmus_proxy.http.stream_info import StreamInfo, connection_info
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.rpc.burst import Burst
from isthmus_proxy.rpc.frame_buffer import FrameBuffer
from isthmus_proxy.rpc.requester import RpcRequester

if TYPE_CHECKING:
    from isthmus_proxy.rpc.plan import RpcPlan
    from isthmus_proxy.rpc.rpc_proxy import RpcProxy
    from isthmus_proxy.rpc.singles import Single
    from isthmus_proxy.rpc.upstream_connection import RpcUpstreamConnection

_CODEC_FAILURE = 400


class RpcDownstreamConnection(RpcRequester):
    """See the module. Requests that filters hold are bounded by the buffer limit: with more, the client is read no further."""

    __slots__ = (
        "_closing", "_connection", "_held", "_held_bytes", "_partial", "_paused", "_proxy", "_split", "_timer", "last_read", "opened_at",
    )  # fmt: skip

    def __init__(self, proxy: RpcProxy, accepted: AcceptedSocket, remote: str, local: str, connection_id: int) -> None:
        super().__init__(remote, local, connection_id)
        self._proxy = proxy
        self._split = proxy.codec.split
        self._connection = accepted.open(proxy.reactor, self, proxy.buffer_limit)
        self._partial = FrameBuffer()
        self._paused = False
        self._closing = False
        self._held: set[Single] = set()
        self._held_bytes = 0
        self.opened_at = self.last_read = proxy.reactor.now
        self._timer = proxy.reactor.timer(self._look_idle)

    def start(self) -> None:
        """Begin to read."""
        self._connection.start()
        if self._proxy.limits.idle_timeout:
            self._timer.set(self.opened_at + self._proxy.limits.idle_timeout)

    # ---- requests ----

    def data_received(self, data: bytes) -> None:
        """See Receiver."""
        self.last_read = self._proxy.reactor.now
        if self._partial.size:
            data = self._partial.add(data)
            if not data:
                return
        while True:
            try:
                frames, end, need = self._split(data, self._proxy.limits.max_frame_bytes)
            except RpcProtocolError as error:
                self._broken(error)
                return
            if not frames:
                break
            self._forward(data, frames)
            if end == len(data):
                return
            data = data[end:]
            if need or self.closed:
                break
        if data and not self.closed:
            self._partial.keep(data, need)

    def _forward(self, data: bytes, frames: list[Frame]) -> None:
        proxy = self._proxy
        pack, mask = proxy.codec.id_format.pack_into, proxy.codec.id_mask
        exact, find = proxy.plans().get, proxy.memo.find
        buffer = bytearray(data)
        burst: Burst | None = None
        plan: RpcPlan | None = None
        count = first = last = room = known_extra = known_form = identifier = 0
        retains = whole = False
        total = 0
        self.active += len(frames)
        for frame in frames:
            kind, start, end, original, id_at, key_start, key_end, extra, form = frame
            if kind:
                if burst is not None:
                    self._send(burst, count, buffer, first, last, identifier)
                    burst = None
                self._unusual(data, frame)
                continue
            total += 1
            found = exact(data[key_start:key_end])
            if found is None:
                found = find(data, frame)
            if burst is None or found is not plan or extra != known_extra or form != known_form or not whole:
                upstream = None
                if burst is not None:
                    alike = found is plan and extra == known_extra and form == known_form
                    if alike:
                        upstream = proxy.choose(found, self, form)
                    if upstream is not burst.upstream or start != last:  # else go on as before
                        self._send(burst, count, buffer, first, last, identifier)
                        burst = None
                if burst is None:
                    burst = None if found.apart else proxy.begin(self, found, extra, form, upstream)
                    if burst is None:
                        self._apart(data, frame, found)
                        continue
                    plan, known_extra, known_form = found, extra, form
                    whole, retains = burst.whole, found.retains
                    pending, abandoned = burst.upstream.pending, burst.upstream.abandoned
                    identifier = burst.upstream.last_id
                    room = burst.upstream.pool.room(burst.upstream)
                    count, first = 0, start
            elif start != last:
                self._send(burst, count, buffer, first, last, identifier)
                room -= count
                count, first = 0, start
            if count >= room:
                self._send(burst, count, buffer, first, last, identifier)
                proxy.overflow(burst, frame)
                burst = None
                continue
            identifier = identifier + 1 & mask
            while identifier in pending or identifier in abandoned:
                identifier = identifier + 1 & mask
            pending[identifier] = (burst, original, data[start:end] if retains else None)
            pack(buffer, id_at, identifier)
            last = end
            count += 1
        if burst is not None:
            self._send(burst, count, buffer, first, last, identifier)
        self.active -= len(frames) - total
        proxy.received(total)

    def _send(self, burst: Burst, count: int, buffer: bytearray, first: int, last: int, identifier: int) -> None:
        """Send ``count`` requests, which lie side by side in ``buffer``; ``identifier`` is the last one given out."""
        if not count:
            return
        upstream = burst.upstream
        upstream.last_id = identifier
        whole = first == 0 and last == len(buffer)
        upstream.send(bytes(buffer) if whole else bytes(memoryview(buffer)[first:last]))
        upstream.pool.begun(upstream, count, last - first)
        burst.plan.stats.total.value += count
        if upstream.blocked:
            self._paused = True
            self._connection.pause()
            upstream.waiting.add(self)

    def _apart(self, data: bytes, frame: Frame, plan: RpcPlan) -> None:
        """A request that goes on its own, or nowhere."""
        if plan.apart:
            self._proxy.singles.take(self, data[frame[1] : frame[2]], frame, plan)
        else:
            self._proxy.refuse(self, plan, frame)

    def _unusual(self, data: bytes, frame: Frame) -> None:
        """Everything but a plain request."""
        kind, start, end, _, _, _, _, _, form = frame
        self.form = form
        codec, proxy = self._proxy.codec, self._proxy
        kind &= ~SEALED
        if kind == HEARTBEAT:
            proxy.stats.heartbeats.value += 1
            self.write(codec.heartbeat_reply(data[start:end]))
        elif kind == REQUEST:
            self.active += 1
            proxy.received(1)
            proxy.singles.take(self, data[start:end], frame, proxy.memo.find(data, frame))
        elif kind == ONE_WAY:
            proxy.stats.one_way.value += 1
            proxy.singles.take(self, data[start:end], frame, proxy.memo.find(data, frame))
        elif kind not in (HEARTBEAT_REPLY, GOAWAY):  # a client that goes away closes its connection anyway
            proxy.stats.unknown_response.value += 1

    # ---- responses ----

    def answer(self, data: bytes, count: int) -> None:
        """Send ``count`` responses."""
        self.active -= count
        self._connection.write(data)
        if self._closing and not self.active:
            self._connection.close_after_flush()

    def write(self, data: bytes) -> None:
        """Send frames that answer no request that was passed on."""
        self._connection.write(data)

    # ---- flow ----

    def hold(self, single: Single) -> None:
        """A filter holds a request."""
        self._held.add(single)
        self._held_bytes += len(single.data)
        if self._held_bytes > self._proxy.buffer_limit:
            self._connection.pause()

    def release(self, single: Single) -> None:
        """No filter holds the request, if one did."""
        if single in self._held:
            self._held.remove(single)
            self._held_bytes -= len(single.data)
            self._read_on()

    def _read_on(self) -> None:
        """Read again, unless something else is against it."""
        if not self._paused and not self._connection.blocked and self._held_bytes <= self._proxy.buffer_limit:
            self._connection.resume()

    def resume(self) -> None:
        """The upstream connection for which reading was paused takes more."""
        if self._paused:
            self._paused = False
            self._read_on()

    def high_watermark_reached(self) -> None:
        """See Receiver: a client that does not take its responses may not ask for more."""
        self._connection.pause()

    def low_watermark_reached(self) -> None:
        """See Receiver."""
        self._read_on()

    # ---- the end ----

    def _broken(self, error: RpcProtocolError) -> None:
        """The bytes are none of the protocol's: nothing behind them can be trusted."""
        self._proxy.stats.cx_protocol_error.value += 1
        if error.identifier is not None:
            self.write(self._proxy.codec.error(error.identifier, error.form, _CODEC_FAILURE, str(error)))
        self._connection.pause()
        self._connection.close_after_flush()

    def _look_idle(self) -> None:
        due = self.last_read + self._proxy.limits.idle_timeout
        now = self._proxy.reactor.now
        if due > now or self.active:
            self._timer.set(max(due, now + 1.0))
        else:
            self._proxy.stats.cx_idle_timeout.value += 1
            self.close()

    def drain(self) -> None:
        """Ask the client to send no more, if the protocol can; close once nothing is to be answered."""
        goaway = self._proxy.codec.goaway(self.form) if self._proxy.config.goaway else b""
        if goaway:
            self.write(goaway)
        self._closing = bool(goaway)
        if self._closing and not self.active:
            self._proxy.reactor.call_later(1.0, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self.active:
            self.close()

    def upstream_gone(self, upstream: RpcUpstreamConnection) -> None:
        """A connection bound to this one is closed."""
        if self.bound.get(upstream.pool.endpoint) is not upstream:
            return
        super().upstream_gone(upstream)
        if upstream.closed and not self.closed and not self._proxy.closing:
            self._connection.close_after_flush()

    def close(self) -> None:
        """Close at once."""
        self._connection.close()
        self._over()

    def _over(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._timer.discard()
        for single in self._held:
            if not single.one_way:
                self._proxy.stats.rq_active.value -= 1
            single.abandon()
        self._held.clear()
        for upstream in list(self.bound.values()):
            upstream.close()
        self.bound.clear()
        self._proxy.finished(self)

    def describe(self) -> StreamInfo:
        """What a listener logs of the connection."""
        return connection_info(self.connection_id, self.remote, self.local, self._connection)

    def eof_received(self) -> None:
        """See Receiver: a client that sends no more may still read; it gets what it waits for."""
        if self.active:
            self._closing = True
        else:
            self.close()

    def connection_lost(self, error: OSError) -> None:
        """See Receiver."""
        del error
        self._over()

    def drained(self) -> None:
        """See Receiver."""
        self._over()
