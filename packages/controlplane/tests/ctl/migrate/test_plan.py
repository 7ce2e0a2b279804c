"""Options of migrations as people type them."""

from __future__ import annotations

import pytest

from isthmus_controlplane.ctl.migrate.plan import parse_conditions, parse_seconds, parse_step
from isthmus_controlplane.errors import ConfigError


@pytest.mark.parametrize(("text", "expected"), [("10%", 10.0), ("12.5", 12.5), (" 100 % ", 100.0), ("0.1%", 0.1)])
def test_steps(text: str, expected: float) -> None:
    assert parse_step(text) == expected


@pytest.mark.parametrize("text", ["", "0%", "0.01%", "101%", "-1", "ten", "nan", "1e1"])
def test_steps_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--step"):
        parse_step(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30.0), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0), ("1.5", 1.5)]
)
def test_times(text: str, expected: float) -> None:
    assert parse_seconds(text, "--interval") == expected


@pytest.mark.parametrize("text", ["", "0s", "-1s", "1d", "inf", "nan", "1 2"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--interval"):
        parse_seconds(text, "--interval")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        (["error-rate>1%"], 0.01),
        (["error-rate > 0.05"], 0.05),
        (["error-rate>5%", "error-rate>2%"], 0.02),
        (["error-rate>0%"], 0.0),
    ],
)
def test_conditions(texts: list[str], expected: float | None) -> None:
    assert parse_conditions(texts) == expected


@pytest.mark.parametrize(
    "text",
    [
        "p99>100ms",
        "p99>100",
        "latency>3",
        "error-rate>100%",
        "error-rate>2",
        "error-rate>1s",
        "error-rate<1%",
        "error-rate",
    ],
)
def test_what_cannot_be_measured_or_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--abort-on"):
        parse_conditions([text])


def test_who_asks_for_latencies_is_told_why_not() -> None:
    with pytest.raises(ConfigError, match="p99 cannot be measured: load reports of proxies have"):
        parse_conditions(["p99>250ms"])
