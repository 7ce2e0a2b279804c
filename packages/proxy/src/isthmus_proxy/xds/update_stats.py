"""What is counted of the updates of one xDS type or name, under Envoy's names."""

from __future__ import annotations

import hashlib

from isthmus_proxy.observe.stats import Scope


class UpdateStats:
    """``update_attempt``, ``update_success``, ... below one scope (``cluster_manager.cds``)."""

    __slots__ = (
        "_attempt",
        "_failure",
        "_rejected",
        "_success",
        "_time",
        "_timeout",
        "_version",
        "_version_text",
        "scope",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._attempt = scope.counter("update_attempt")
        self._success = scope.counter("update_success")
        self._failure = scope.counter("update_failure")
        self._rejected = scope.counter("update_rejected")
        self._timeout = scope.counter("init_fetch_timeout")
        self._time = scope.gauge("update_time")
        self._version = scope.gauge("version")
        self._version_text = scope.text("version_text")

    def attempted(self) -> None:
        """A request was sent."""
        self._attempt.value += 1

    def taken(self, version: str, now: float) -> None:
        """A response was taken in full, at wall-clock second ``now``."""
        self._success.value += 1
        self._time.value = int(now * 1000)
        self._version.value = version_number(version)
        self._version_text.value = version

    def rejected(self) -> None:
        """A response was refused, at least in part."""
        self._rejected.value += 1

    def failed(self) -> None:
        """The stream ended or could not be opened."""
        self._failure.value += 1

    def timed_out(self) -> None:
        """Nothing came within initial_fetch_timeout."""
        self._timeout.value += 1


def version_number(version: str) -> int:
    """A number that differs when ``version`` does: 64 bits of its hash (Envoy shows another hash of the same text)."""
    return int.from_bytes(hashlib.blake2b(version.encode(), digest_size=8).digest(), "big") if version else 0
