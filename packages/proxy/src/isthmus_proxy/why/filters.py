"""The HTTP filters before the router, in order, with what each would do with a request (``judges``)."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.route.filter_overrides import overrides
from isthmus_proxy.route.model import Decision
from isthmus_proxy.why.judges import JUDGES, Asker

_Row = dict[str, object]


def explain_filters(filters: tuple[HttpFilterConfig, ...], asker: Asker, decision: Decision | None) -> Iterator[_Row]:
    """A row for each filter, in order. ``verdict`` is there where something can be said."""
    for each in filters:
        levels = () if decision is None else overrides(decision, None, each.name)
        kind = type(each.config).__name__.removesuffix("Config")
        row: _Row = {"name": each.name, "kind": kind}
        judge = JUDGES.get(kind)
        if levels[-1].disabled if levels else each.disabled:
            row["verdict"] = "disabled here"
        elif judge is not None:
            configs = [level.config for level in levels if level.config is not None]
            row["verdict"] = judge(configs[-1] if configs else each.config, each.config, asker)
        yield row
