"""Counters, gauges and histograms under Envoy's dotted names. The hot path adds to ``value``; everything else reads."""

from __future__ import annotations


class Counter:
    """A number that only grows. The data path does ``counter.value += 1``: no call, no lock (one thread)."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0
