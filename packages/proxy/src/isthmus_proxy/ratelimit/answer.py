"""What a rate limit service answers, and the headers that tell clients of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]

_DAY = 24 * 60 * 60
WINDOWS = {
    "SECOND": 1,
    "MINUTE": 60,
    "HOUR": 3600,
    "DAY": _DAY,
    "WEEK": 7 * _DAY,
    "MONTH": 30 * _DAY,
    "YEAR": 365 * _DAY,
}
"""Seconds of RateLimitResponse.RateLimit.Unit."""


@dataclass(frozen=True, slots=True)
class Status:
    """DescriptorStatus with its current_limit: ``requests`` a ``unit``, of which so many ``remain``; ``reset`` in seconds."""

    requests: int
    unit: str = "UNKNOWN"
    name: str = ""
    remain: int = 0
    reset: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """RateLimitResponse, or the failure to get one. ``statuses`` are those of descriptors that have a limit."""

    kind: Literal["ok", "over_limit", "error"]
    statuses: tuple[Status, ...] = ()
    response_headers: Fields = ()
    request_headers: Fields = ()
    body: bytes = b""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


FAILED = Answer("error")


def limit_headers(statuses: tuple[Status, ...]) -> Fields:
    """The fields of draft-polli-ratelimit-headers-03: the limit that is nearest, and the windows of all."""
    if not statuses:
        return ()
    nearest = min(statuses, key=lambda status: status.remain)
    limit = f"{nearest.requests}" + "".join(map(_policy, statuses))
    return (
        (b"x-ratelimit-limit", limit.encode()),
        (b"x-ratelimit-remaining", b"%d" % nearest.remain),
        (b"x-ratelimit-reset", b"%d" % nearest.reset),
    )


def _policy(status: Status) -> str:
    window = WINDOWS.get(status.unit)
    if window is None:
        return ""
    name = f';name="{status.name}"' if status.name else ""
    return f", {status.requests};w={window}{name}"
