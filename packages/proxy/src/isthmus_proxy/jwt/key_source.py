"""Where the keys of a provider come from: a set that is there, or one that is fetched from a cluster and kept for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus_proxy.http.cluster_call import Answer, ClusterCall, call, own_request
from isthmus_proxy.jwt.jwks import Keys, parse_jwks
from isthmus_proxy.jwt.model import RemoteJwks
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.reactor.timers import Timer

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Surroundings

MAX_JWKS_BYTES = 1024 * 1024
"""A longer key set is not believed."""
MAX_WAITING = 4096
"""Requests that wait for one fetch; beyond it they are told that it failed."""
REFETCH_BEFORE_S = 5.0
"""So long before a set that is fetched in advance is too old, it is fetched again."""

_USER_AGENT = b"Go-browser"
"""What Envoy says; some servers of keys refuse those who say nothing."""

Told = Callable[[bool], None]
"""Whether the fetch has given keys."""


class LocalKeys:
    """Keys that are there from the start."""

    __slots__ = ("keys",)

    def __init__(self, data: bytes) -> None:
        self.keys: Keys | None = parse_jwks(data)

    def wait(self, told: Told) -> None:
        """Never needed."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""


class RemoteKeys:
    """Keys that are fetched when they are needed, or ahead of that. One fetch serves all who wait."""

    __slots__ = (
        "_call", "_closed", "_config", "_expires", "_failed", "_keys",  "_succeeded", "_surroundings", "_timer", "_waiting",
    )  # fmt: skip

    def __init__(self, config: RemoteJwks, surroundings: Surroundings, succeeded: Counter, failed: Counter) -> None:
        self._config = config
        self._surroundings = surroundings
        self._succeeded = succeeded
        self._failed = failed
        self._keys: Keys = ()
        self._expires = float("-inf")
        self._call: ClusterCall | None = None
        self._timer: Timer | None = None
        self._waiting: list[Told] = []
        self._closed = False
        if config.in_advance:
            surroundings.reactor.call_soon(self._fetch)

    @property
    def keys(self) -> Keys | None:
        """The keys; None if there are none, or if they are too old."""
        return self._keys if self._surroundings.reactor.now < self._expires else None

    def wait(self, told: Told) -> None:
        """Call ``told`` when a fetch is over; begin one if none runs."""
        if len(self._waiting) >= MAX_WAITING:
            self._surroundings.reactor.call_soon(lambda: told(False))
            return
        self._waiting.append(told)
        if self._call is None:
            self._fetch()

    def close(self) -> None:
        """Fetch no more than what somebody waits for."""
        self._closed = True
        self._drop_timer()
        if self._call is not None and not self._waiting:
            self._call.cancel()
            self._call = None

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.discard()
            self._timer = None

    def _fetch(self) -> None:
        if self._call is not None:
            return
        config = self._config
        self._drop_timer()
        head = own_request(b"GET", config.path, config.authority, [(b"user-agent", _USER_AGENT)], config.timeout)
        self._call = call(
            self._surroundings,
            config.cluster,
            head,
            b"",
            timeout=config.timeout,
            limit=MAX_JWKS_BYTES,
            ended=self._ended,
        )

    def _ended(self, outcome: Answer | str) -> None:
        self._call = None
        keys = parse_jwks(outcome.body) if isinstance(outcome, Answer) and outcome.status == 200 else ()
        reactor, config = self._surroundings.reactor, self._config
        if keys:
            self._succeeded.value += 1
            self._keys = keys
            self._expires = reactor.now + config.cache_duration
        else:
            self._failed.value += 1
        if config.in_advance and not self._closed:
            again = (
                max(config.cache_duration - REFETCH_BEFORE_S, config.cache_duration / 2)
                if keys
                else config.retry_after_failure
            )
            self._timer = reactor.call_later(again, self._fetch)
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told(bool(keys))
