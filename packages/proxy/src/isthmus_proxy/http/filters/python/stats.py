"""What a filter in Python did, in ``http.<stat_prefix>.python.<name>.*``."""

from __future__ import annotations

from isthmus_proxy.observe.stats_scope import StatsScope


class PythonFilterStats:
    """``calls`` of hooks; of these ``errors``, ``timeouts``, ``overflow`` (refused: too many at once), ``slow`` and ``replies``.

    ``active`` hooks wait or run in threads now; ``demoted`` is 1 once plain hooks were moved into a thread; ``call_time`` in ms.
    """

    __slots__ = (
        "active",
        "call_time",
        "calls",
        "demoted",
        "errors",
        "overflow",
        "replies",
        "scope",
        "slow",
        "timeouts",
    )

    def __init__(self, scope: StatsScope, name: str) -> None:
        self.scope = scope
        prefix = f"python.{name}."
        self.calls = scope.counter(prefix + "calls")
        self.errors = scope.counter(prefix + "errors")
        self.timeouts = scope.counter(prefix + "timeouts")
        self.overflow = scope.counter(prefix + "overflow")
        self.slow = scope.counter(prefix + "slow")
        self.replies = scope.counter(prefix + "replies")
        self.active = scope.gauge(prefix + "active")
        self.demoted = scope.gauge(prefix + "demoted")
        self.call_time = scope.histogram(prefix + "call_time")
