"""Whether a request is traced: Envoy's rules, by which all proxies on its way decide alike from its x-request-id. Pure."""

from __future__ import annotations

from enum import Enum

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.runtime import Runtime
from isthmus_proxy.trace.model import RouteTracing, TracingConfig

REASON_AT = 14
"""Which digit of an x-request-id says why its request is traced: the version of the UUID, 4 for one that is not."""


class Reason(Enum):
    """Why a request is traced; the values are the digits in x-request-id."""

    NOT_TRACEABLE = b"4"
    SAMPLING = b"9"
    SERVICE_FORCED = b"a"
    CLIENT_FORCED = b"b"


_LENGTH = 36
_REASONS = {reason.value: reason for reason in Reason}


def reason_of(identifier: bytes) -> Reason:
    """What an x-request-id says of tracing."""
    if len(identifier) != _LENGTH:
        return Reason.NOT_TRACEABLE
    return _REASONS.get(identifier[REASON_AT : REASON_AT + 1], Reason.NOT_TRACEABLE)


def with_reason(identifier: bytes, reason: Reason) -> bytes:
    """The identifier that says ``reason``; one that is no UUID stays as it is."""
    if len(identifier) != _LENGTH:
        return identifier
    return identifier[:REASON_AT] + reason.value + identifier[REASON_AT + 1 :]


def draw(identifier: bytes) -> float | None:
    """A number in [0, 1) that all proxies get from the same identifier; None if it does not begin with eight digits."""
    try:
        return int(identifier[:8], 16) % 10_000 / 10_000 if len(identifier) >= 8 else None
    except ValueError:
        return None


def decide(
    config: TracingConfig | RouteTracing, head: RequestHead, identifier: bytes, runtime: Runtime, random: float
) -> tuple[Reason, bytes]:
    """Why the request is traced, and its identifier, which then says so. ``random`` in [0, 1) draws for the client's wish."""
    drawn = draw(identifier)
    if drawn is None:
        return Reason.NOT_TRACEABLE, identifier
    reason = before = reason_of(identifier)
    if reason is Reason.NOT_TRACEABLE:
        reason = _fresh(config, head, runtime, drawn, random)
    if reason is not Reason.NOT_TRACEABLE and not runtime.admits(config.overall_sampling, drawn):
        reason = Reason.NOT_TRACEABLE
    return reason, identifier if reason is before else with_reason(identifier, reason)


def _fresh(
    config: TracingConfig | RouteTracing, head: RequestHead, runtime: Runtime, drawn: float, random: float
) -> Reason:
    if head.get(b"x-client-trace-id") is not None and runtime.admits(config.client_sampling, random):
        return Reason.CLIENT_FORCED
    if head.get(b"x-envoy-force-trace") is not None:
        return Reason.SERVICE_FORCED
    if runtime.admits(config.random_sampling, drawn):
        return Reason.SAMPLING
    return Reason.NOT_TRACEABLE
