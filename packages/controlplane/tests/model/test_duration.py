"""Durations as Istio writes them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.model.duration import json_duration
from isthmus_controlplane.model.testing import rule, virtual_service


def nanoseconds(text: str) -> int:
    parsed = Duration()
    parsed.FromJsonString(json_duration(text))
    return parsed.ToNanoseconds()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", 5_000_000_000),
        ("0.25s", 250_000_000),
        ("250ms", 250_000_000),
        ("1h", 3_600_000_000_000),
        ("1h30m0.5s", 5_400_500_000_000),
        ("1.5m", 90_000_000_000),
        ("7us", 7_000),
        ("7µs", 7_000),
        ("7ns", 7),
        ("0.5ns", 0),
        ("0s", 0),
        ("-1.5h", -5_400_000_000_000),
    ],
)
def test_units(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "-", "5", "s", "5 s", "5 seconds", "1d", "--1s", "1s-1s", "1e3s", "٣s", ".5s", "1" * 64 + "s"]
)
def test_what_is_no_duration_is_left_as_it_is(text: str) -> None:
    assert json_duration(text) == text


@given(st.integers(0, 10**12))
def test_what_protobuf_writes_is_read_alike(value: int) -> None:
    written = Duration()
    written.FromNanoseconds(value)
    assert nanoseconds(written.ToJsonString()) == value


def test_durations_are_read_at_any_depth() -> None:
    spec: Any = virtual_service("a.shop", {"route": [{"destination": {"host": "a.shop"}}], "timeout": "1m"}).spec
    assert spec.http[0].timeout.seconds == 60
    policy = {"portLevelSettings": [{"port": {"number": 80}, "outlierDetection": {"baseEjectionTime": "15m"}}]}
    spec = rule("a.shop", trafficPolicy=policy).spec
    assert spec.traffic_policy.port_level_settings[0].outlier_detection.base_ejection_time.seconds == 900
