"""When to ask an idle upstream connection whether it lives. Pure: the time is a parameter.

While answers come and nothing else passes, the interval doubles up to its maximum; a miss sets it back and asks again at once. A
connection with traffic is never asked.
"""

from __future__ import annotations

from enum import Enum, auto

from isthmus_proxy.rpc.model import HeartbeatConfig


class Beat(Enum):
    """What to do now."""

    NOTHING = auto()
    SEND = auto()
    GIVE_UP = auto()


class Heartbeat:
    """See the module. ``due`` is when to call ``tick`` next, ``missed`` how many answers in a row failed to come."""

    __slots__ = ("_config", "_interval", "_waiting", "due", "missed")

    def __init__(self, config: HeartbeatConfig, now: float) -> None:
        self._config = config
        self._interval = config.interval
        self._waiting = False
        self.missed = 0
        self.due = now + config.interval if config.interval else float("inf")

    def tick(self, now: float, last_read: float) -> Beat:
        """``due`` has come; ``last_read`` is when bytes came last."""
        if self._waiting:
            self.missed += 1
            self._interval = self._config.interval
            if self.missed >= self._config.max_failures:
                self.due = float("inf")
                return Beat.GIVE_UP
        elif last_read + self._interval > now:
            self.due = last_read + self._interval
            return Beat.NOTHING
        self._waiting = True
        self.due = now + self._config.timeout
        return Beat.SEND

    def answered(self, now: float) -> None:
        """A heartbeat was answered."""
        if self._waiting:
            self._waiting = False
            if self.missed == 0:
                self._interval = min(self._interval * 2, self._config.max_interval)
            self.missed = 0
            self.due = now + self._interval
