"""The HTTP filters before the router, in order, with what each would do with a request (``judges``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from isthmus_proxy.listener.model import DiscoveredFilterConfig, Extension, HttpFilterConfig
from isthmus_proxy.route.filter_overrides import FilterOverride, overrides
from isthmus_proxy.route.model import Decision
from isthmus_proxy.why.judges import JUDGES, Asker

_Row = dict[str, object]


def explain_filters(
    filters: tuple[HttpFilterConfig, ...],
    asker: Asker,
    decision: Decision | None,
    extensions: Callable[[str], Extension | None],
) -> Iterator[_Row]:
    """A row for each filter, in order. ``verdict`` is there where something can be said.

    ``extensions`` answers the newest configuration of a filter that takes it over xDS.
    """
    for each in filters:
        levels = () if decision is None else overrides(decision, None, each.name)
        config, row = each.config, _Row(name=each.name)
        if isinstance(config, DiscoveredFilterConfig):
            newest = extensions(each.name)
            chosen = config.chosen(newest)
            row["configuration"] = "default_config" if newest is None or chosen is not newest.config else "over xDS"
            if chosen is None:
                yield row | {"kind": "", "configuration": "none", "verdict": _missing(levels, each)}
                continue
            config = chosen
        kind = row["kind"] = type(config).__name__.removesuffix("Config")
        judge = JUDGES.get(kind)
        if levels[-1].disabled if levels else each.disabled:
            row["verdict"] = "disabled here"
        elif judge is not None:
            configs = [level.config for level in levels if level.config is not None]
            row["verdict"] = judge(configs[-1] if configs else config, config, asker)
        yield row


def _missing(levels: Sequence[FilterOverride], each: HttpFilterConfig) -> str:
    if levels[-1].disabled if levels else each.disabled:
        return "disabled here"
    return "no configuration has come over xDS, and there is no default: 500 (NFCF)"
