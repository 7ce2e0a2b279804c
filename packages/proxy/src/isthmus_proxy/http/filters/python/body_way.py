"""The way of a body, request's or response's, through a filter in Python: piece by piece in order, or all of it at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from isthmus_proxy.extension.headers import Headers
from isthmus_proxy.http.filters.python.runner import Call, Hook
from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, Trailers


class Owner(Protocol):
    """The filter in the exchange. ``over``: nothing more is asked of it."""

    over: bool

    def call(self, hook: Hook, subject: object, told: Callable[[object], None]) -> object | Call:
        """Run a hook of the exchange on ``subject``."""

    def settle(self, outcome: object) -> object:
        """What ``outcome`` means for the body: None, or bytes. Failures and replies are dealt with, and set ``over``."""


class Direction(Protocol):
    """What differs between the two ways."""

    def open_head(self) -> None:
        """Let the next hook change the head."""

    def inject(self, data: bytes) -> None:
        """Hand data on."""

    def hold(self) -> None:
        """Take no more from the sender."""

    def release(self) -> None:
        """Take more."""

    def reserve(self, length: int) -> None:
        """Let so many bytes wait behind the filter."""

    def set_length(self, length: int | None) -> None:
        """The body is here as a whole, and so long; None where trailers follow, which a body of known length cannot have."""

    def set_trailers(self, trailers: Trailers) -> None:
        """Let these trailers go on."""

    def go_on(self) -> None:
        """Let everything go on that is held here."""

    def too_large(self) -> None:
        """The body is larger than may be kept."""


class BodyWay:
    """See the module. ``bound``: bytes that are collected for the hook; None for pieces as they come."""

    __slots__ = (
        "_bound", "_call", "_changes", "_current", "_data_hook", "_direction", "_end_waits", "_held", "_limit", "_owner", "_queue",
        "_size", "_trailers", "_trailers_hook",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        direction: Direction,
        data_hook: Hook | None,
        trailers_hook: Hook | None,
        *,
        bound: int | None,
        limit: int,
        changes: bool,
    ) -> None:
        self._owner = owner
        self._direction = direction
        self._data_hook = data_hook
        self._trailers_hook = trailers_hook
        self._bound = bound if data_hook is not None else None
        self._limit = limit
        self._changes = changes
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._held = False
        self._call: Call | None = None
        self._current = b""
        self._end_waits = False
        self._trailers: Trailers = ()

    @property
    def collects(self) -> bool:
        """Whether the hook gets the body as a whole."""
        return self._bound is not None

    def abandon(self) -> None:
        """Nothing more is asked of the filter."""
        if self._call is not None:
            self._call.abandon()
            self._call = None
        self._queue.clear()

    def data(self, data: bytes) -> bytes:
        """A piece; answers what goes on in its place now."""
        hook = self._data_hook
        if hook is None:
            return data
        if self._bound is not None:
            self._collect(data, self._bound)
            return b""
        if self._call is not None or self._queue:
            self._wait(data)
            return b""
        return self._one(hook, data)

    def _collect(self, data: bytes, bound: int) -> None:
        self._queue.append(data)
        self._size += len(data)
        if self._size > bound:
            self._queue.clear()
            self._direction.too_large()

    def _wait(self, data: bytes) -> None:
        self._queue.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._held = True
            self._direction.hold()  # again for each piece: others may have let go

    def _one(self, hook: Hook, data: bytes) -> bytes:
        """Ask the hook of ``data``; what goes on now."""
        outcome = self._owner.call(hook, data, self._told)
        if type(outcome) is Call:
            self._call = outcome
            self._current = data
            return b""
        return self._passed(outcome, data)

    def _passed(self, outcome: object, data: bytes) -> bytes:
        changed = self._owner.settle(outcome)
        if self._owner.over:
            return b""
        return changed if self._changes and isinstance(changed, bytes) else data

    def _told(self, outcome: object) -> None:
        """A piece is done that had to wait for its hook."""
        self._call = None
        data, self._current = self._passed(outcome, self._current), b""
        if data:
            self._direction.inject(data)
        self._serve_queue()

    def _serve_queue(self) -> None:
        hook = self._data_hook
        while self._queue and self._call is None and hook is not None and not self._owner.over:
            piece = self._queue.popleft()
            self._size -= len(piece)
            data = self._one(hook, piece)
            if data:
                self._direction.inject(data)
        if self._owner.over or self._call is not None:
            return
        if self._held:
            self._held = False
            self._direction.release()
        if self._end_waits:
            self._end_waits = False
            if self._ask_of_trailers() == CONTINUE and not self._owner.over:
                self._direction.go_on()

    def end(self, trailers: Trailers) -> int:
        """The body is complete; answer CONTINUE or HOLD."""
        self._trailers = trailers
        hook = self._data_hook
        if self._bound is not None and hook is not None:
            whole = b"".join(self._queue)
            self._queue.clear()
            return self._whole(hook, whole)
        if self._call is not None or self._queue:
            self._end_waits = True
            return HOLD
        return self._ask_of_trailers()

    def _whole(self, hook: Hook, data: bytes) -> int:
        def told(outcome: object) -> None:
            self._call = None
            if self._collected(outcome, data) == CONTINUE and not self._owner.over:
                self._direction.go_on()

        self._direction.open_head()
        outcome = self._owner.call(hook, data, told)
        if type(outcome) is Call:
            self._call = outcome
            return HOLD
        if self._collected(outcome, data) == CONTINUE and not self._owner.over:
            self._direction.go_on()  # the head, which waits for the body
            return CONTINUE
        return HOLD

    def _collected(self, outcome: object, data: bytes) -> int:
        data = self._passed(outcome, data)
        if self._owner.over:
            return HOLD
        if self._changes:
            self._direction.set_length(None if self._trailers else len(data))
        self._direction.reserve(len(data))
        if data:
            self._direction.inject(data)
        return HOLD if self._owner.over else self._ask_of_trailers()

    def _ask_of_trailers(self) -> int:
        hook, trailers = self._trailers_hook, self._trailers
        if hook is None or not trailers or self._owner.over:
            return CONTINUE
        view = Headers.of_raw(trailers)

        def told(outcome: object) -> None:
            self._call = None
            self._changed(outcome, view)
            if not self._owner.over:
                self._direction.go_on()

        outcome = self._owner.call(hook, view, told)
        if type(outcome) is Call:
            self._call = outcome
            return HOLD
        self._changed(outcome, view)
        return HOLD if self._owner.over else CONTINUE

    def _changed(self, outcome: object, view: Headers) -> None:
        failed = self._owner.settle(outcome) is FAILED_OPEN
        if not self._owner.over and not failed:
            self._direction.set_trailers(tuple(view.raw))


FAILED_OPEN = object()
"""What a failure means where requests go on as if the hook did not exist."""
