"""What a migration is to do: options as they are typed, and as values. Pure."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from isthmus_controlplane.errors import ConfigError

Direction = Literal["mesh", "sdk"]

ALL = 100.0
MIN_STEP = 0.1
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%?")
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_CONDITION = re.compile(r"\s*([a-z0-9_.-]+)\s*>\s*([0-9]+(?:\.[0-9]+)?)\s*(%|[a-z]*)\s*")


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How the share of mesh addresses is walked.

    Attributes:
        to: towards mesh addresses, or back to those of the SDK.
        start: share in per cent at the beginning, which is gone back to.
        step: per cent by which it changes at a time.
        interval_s: how long each step is watched.
        max_error_rate: part of the requests that may fail, from 0 to 1; None to watch nothing.
        min_requests: how many requests it takes to judge a step.
        settle_s: how long a step may take until everybody has it.
        no_data_s: how long to wait, beyond the interval, for requests to judge by.
        allow_no_data: go on without them.
    """

    to: Direction
    start: float
    step: float = 10.0
    interval_s: float = 30.0
    max_error_rate: float | None = None
    min_requests: int = 20
    settle_s: float = 60.0
    no_data_s: float = 60.0
    allow_no_data: bool = False

    @property
    def target(self) -> float:
        """The share to reach, in per cent."""
        return ALL if self.to == "mesh" else 0.0

    @property
    def steps(self) -> int:
        """How many steps it takes from the beginning."""
        return len(shares(self.start, self))

    def after(self, percent: float) -> float:
        """The share that follows ``percent``; never beyond the target."""
        if self.to == "mesh":
            return min(self.target, round(percent + self.step, 3))
        return max(self.target, round(percent - self.step, 3))


def shares(start: float, plan: Plan) -> list[float]:
    """The shares of all steps from ``start`` on."""
    found: list[float] = []
    while start != plan.target:
        start = plan.after(start)
        found.append(start)
    return found


def parse_step(text: str) -> float:
    """Read ``10%`` or ``10``.

    Raises:
        ConfigError: it is no percentage of 0.1 to 100.
    """
    match = _PERCENT.fullmatch(text.strip())
    if match is None or not MIN_STEP <= float(match[1]) <= ALL:
        raise ConfigError(f"--step {text}: is not a percentage of {MIN_STEP:g} to 100, such as 10%")
    return float(match[1])


def parse_seconds(text: str, option: str) -> float:
    """Read ``30s``, ``500ms``, ``2m`` or ``30`` (seconds).

    Raises:
        ConfigError: it is no such time, or none at all.
    """
    match = _SECONDS.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise ConfigError(f"{option} {text}: is not a time such as 30s, 500ms or 2m")
    return float(match[1]) * _UNITS[match[2]]


def parse_conditions(texts: list[str]) -> float | None:
    """Read ``error-rate>1%``; of several the strictest counts. Returns a rate from 0 to 1, None when nothing is asked.

    Raises:
        ConfigError: a condition cannot be read, or is on something that proxies do not report.
    """
    rates = [_rate(text) for text in texts]
    return min(rates, default=None)


def _rate(text: str) -> float:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(f"--abort-on {text}: is not of the form error-rate>1%")
    name, number, unit = match.groups()
    if name != "error-rate":
        raise ConfigError(
            f"--abort-on {text}: {name} cannot be measured: load reports of proxies have numbers of requests and errors, "
            "and no latencies; use error-rate"
        )
    rate = float(number) / 100 if unit else float(number)
    if unit not in ("", "%") or not 0 <= rate < 1:
        raise ConfigError(f"--abort-on {text}: is not a rate of 0 to below 100%, or from 0 to below 1 without %")
    return rate
