"""One remote call before the filters of its proxy: the same filters that HTTP has, as far as they read heads alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from isthmus_proxy.http.filters.stream_filter import CONTINUE, RequestCallbacks, RequestFilter
from isthmus_proxy.http.http_filter_chain import Chosen
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.reactor.timers import Timer
from isthmus_proxy.route.model import Decision

if TYPE_CHECKING:
    from isthmus_proxy.reactor.reactor import Reactor

Done = Callable[[LocalReply | None], None]
"""Called once, when all filters have let a call pass (None) or one has answered it."""


class RequestFilterFactory(Protocol):
    """What makes filters that ask for nothing that remote calls lack; the configuration admits no others."""

    def create(self, callbacks: RequestCallbacks, overrides: tuple[Any, ...]) -> RequestFilter | None:
        """See ``FilterFactory``."""


class FilteredCall:
    """See the module, and ``RequestCallbacks``. ``waiting``: a filter holds it."""

    __slots__ = (
        "_done", "_next", "_over", "_random", "_reactor", "cluster_name", "decision", "filters", "head", "info", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        reactor: Reactor,
        random: Callable[[], float],
        info: StreamInfo,
        head: RequestHead,
        decision: Decision | None,
        cluster: str,
        done: Done,
    ) -> None:
        self._reactor = reactor
        self._random = random
        self._done = done
        self._next = 0
        self._over = False
        self.info = info
        self.head = head
        self.decision = decision
        self.cluster_name = cluster
        self.filters: list[RequestFilter] = []
        self.waiting = False

    def run(self, chosen: Chosen) -> None:
        """Make the filters and pass them."""
        for factory, overrides in chosen:
            made = cast("RequestFilterFactory", factory).create(self, overrides)
            if made is not None:
                self.filters.append(made)
        self._pass()

    def _pass(self) -> None:
        while self._next < len(self.filters):
            verdict = self.filters[self._next].decode_headers(self.head, True)
            if self._over:
                return
            if verdict != CONTINUE:
                self.waiting = True
                return
            self._next += 1
        self._over = True
        self._done(None)

    def abandon(self) -> None:
        """The client is gone: whatever a filter waits for does not matter any more."""
        self._over = True
        self.waiting = False

    # ---- what filters ask for ----

    @property
    def random(self) -> Callable[[], float]:
        """See ``RequestCallbacks``."""
        return self._random

    @property
    def remote_address(self) -> str:
        """See ``RequestCallbacks``."""
        return self.info.downstream_direct_remote

    @property
    def local_address(self) -> str:
        """See ``RequestCallbacks``."""
        return self.info.downstream_local

    @property
    def now(self) -> float:
        """See ``RequestCallbacks``."""
        return self._reactor.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """See ``RequestCallbacks``."""
        return self._reactor.call_later(delay, callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """See ``RequestCallbacks``."""
        self._reactor.call_soon(callback)

    def send_local_reply(self, reply: LocalReply) -> None:
        """See ``RequestCallbacks``."""
        if self._over:
            return
        self._over = True
        self.waiting = False
        for flag in reply.flags:
            self.info.flag(flag)
        self._done(reply)

    def continue_decoding(self, stream_filter: RequestFilter | None = None) -> None:
        """See ``RequestCallbacks``."""
        del stream_filter
        if self._over:
            return
        self.waiting = False
        self._next += 1
        self._pass()
