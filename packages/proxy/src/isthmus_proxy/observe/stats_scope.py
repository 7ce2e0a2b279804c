"""A scope of the stats store as those see it who count, and their stats made from the fields of a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import Field
from typing import Any, Protocol

from isthmus_proxy.observe.histogram import Histogram
from isthmus_proxy.observe.stats import Counter, Gauge


class StatsScope(Protocol):
    """Where stats are made: a scope of the stats store (``observe.stats.Scope``)."""

    def counter(self, name: str) -> Counter:
        """Return the counter ``name`` of this scope."""
        ...

    def gauge(self, name: str) -> Gauge:
        """Return the gauge ``name`` of this scope."""
        ...

    def histogram(self, name: str) -> Histogram:
        """Return the histogram of milliseconds ``name`` of this scope."""
        ...

    def provide(self, source: Callable[[], Iterable[Gauge]]) -> None:
        """Show what ``source`` yields along with the stats of this scope; it is called when somebody looks."""
        ...

    def close(self) -> None:
        """Forget everything made in this scope."""
        ...


def make_metrics(scope: StatsScope, fields: tuple[Field[Any], ...]) -> dict[str, Any]:
    """A stat in ``scope`` for each field that is a counter, a gauge or a histogram, by the field's name."""
    make: dict[str, Callable[[str], object]] = {
        "Counter": scope.counter,
        "Gauge": scope.gauge,
        "Histogram": scope.histogram,
    }
    # In a compiled class the type of a field is the class itself, in an interpreted one its name.
    kinds = [(field.name, getattr(field.type, "__name__", field.type)) for field in fields]
    return {name: make[kind](name) for name, kind in kinds if kind in make}
