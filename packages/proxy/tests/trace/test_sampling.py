"""Whether a request is traced: the same answer at every proxy on its way."""

from __future__ import annotations

import pytest

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.runtime import Fraction, Runtime
from isthmus_proxy.testing import static_values
from isthmus_proxy.trace.model import Collector, TracingConfig
from isthmus_proxy.trace.sampling import Reason, decide, draw, reason_of, with_reason

FRESH = b"00001387-0fb4-4641-8c13-2c9ab664e117"  # 0x1387 is 4999
COLLECTOR = Collector("otlp_http", "c", "c", "/")


def decided(
    identifier: bytes = FRESH,
    *,
    headers: dict[bytes, bytes] | None = None,
    random: int = 10_000,
    overall: int = 10_000,
    runtime: dict[str, int] | None = None,
) -> tuple[Reason, bytes]:
    config = TracingConfig(
        COLLECTOR,
        client_sampling=Fraction(5_000, 10_000, "tracing.client_enabled"),
        random_sampling=Fraction(random, 10_000, "tracing.random_sampling"),
        overall_sampling=Fraction(overall, 10_000, "tracing.global_enabled"),
    )
    head = RequestHead(b"GET", b"/", b"a", list((headers or {}).items()))
    return decide(config, head, identifier, Runtime(static_values(runtime or {})), 0.4)


def test_the_identifier_says_why() -> None:
    for reason in Reason:
        assert reason_of(with_reason(FRESH, reason)) is reason
    assert reason_of(b"short") is Reason.NOT_TRACEABLE
    assert with_reason(b"short", Reason.SAMPLING) == b"short"


@pytest.mark.parametrize(
    ("identifier", "drawn"), [(FRESH, 0.4999), (b"000027100", 0.0), (b"ffff", None), (b"no digits", None)]
)
def test_the_draw_is_the_identifiers(identifier: bytes, drawn: float | None) -> None:
    assert draw(identifier) == drawn


@pytest.mark.parametrize(
    ("random", "reason"), [(10_000, Reason.SAMPLING), (5_000, Reason.SAMPLING), (4_999, Reason.NOT_TRACEABLE)]
)
def test_a_share_is_sampled(random: int, reason: Reason) -> None:
    assert decided(random=random) == (reason, with_reason(FRESH, reason))


def test_clients_and_services_may_ask_for_it() -> None:
    assert decided(headers={b"x-client-trace-id": b"1"}, random=0)[0] is Reason.CLIENT_FORCED
    assert decided(headers={b"x-envoy-force-trace": b"1"}, random=0)[0] is Reason.SERVICE_FORCED
    never = {"tracing.client_enabled": 0}
    assert decided(headers={b"x-client-trace-id": b"1"}, random=0, runtime=never)[0] is Reason.NOT_TRACEABLE


def test_what_was_decided_before_stands_unless_too_much_is_traced() -> None:
    traced = with_reason(FRESH, Reason.SERVICE_FORCED)
    assert decided(traced, random=0) == (Reason.SERVICE_FORCED, traced)
    assert decided(traced, overall=4_999) == (Reason.NOT_TRACEABLE, FRESH)
    assert decided(traced, runtime={"tracing.global_enabled": 49}) == (Reason.NOT_TRACEABLE, FRESH)


def test_who_cannot_be_drawn_for_is_not_traced() -> None:
    assert decided(b"mine") == (Reason.NOT_TRACEABLE, b"mine")
