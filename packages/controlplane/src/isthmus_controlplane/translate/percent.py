"""Istio's percentages as fractions of a million."""

from __future__ import annotations

from typing import Any

from envoy.type.v3.percent_pb2 import FractionalPercent

_MILLIONTHS = 10_000  # in one per cent


def fraction(percent: float) -> Any:
    """Return the FractionalPercent of a percentage from 0 to 100; what is below a millionth is cut off."""
    return FractionalPercent(numerator=round(percent * _MILLIONTHS), denominator=FractionalPercent.MILLION)
