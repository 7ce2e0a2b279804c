"""Metrics of the control plane beside those of its xDS server, in the Prometheus text format."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from isthmus_controlplane.publisher import Publisher


def metrics_text(publisher: Publisher) -> str:
    """Write all metrics; labels have bounded sets of values."""
    return "".join(f"{line}\n" for line in _lines(publisher))


def _lines(publisher: Publisher) -> Iterator[str]:
    world, counters = publisher.world, publisher.counters
    kinds = collections.Counter(key.kind for key in world.admission.in_use)
    yield from _metric(
        "objects", "gauge", "Objects in use, by kind.", {f'kind="{k}"': n for k, n in sorted(kinds.items())}
    )
    yield from _metric("objects_held", "gauge", "Objects not, or not wholly, in use.", {"": len(world.admission.held)})
    yield from _metric("problems", "gauge", "Problems that a user has to mend.", {"": len(publisher.problems())})
    synced = {f'source="{_escaped(state.source)}"': int(state.synced) for state in world.states}
    yield from _metric("store_synced", "gauge", "Whether a store was read whole.", synced)
    yield from _metric("ready", "gauge", "Whether clients are served.", {"": int(publisher.ready)})
    yield from _metric("changes_total", "counter", "Changes that stores published.", {"": counters.changes})
    yield from _metric(
        "changes_merged_total", "counter", "Changes that joined a burst.", {"": publisher.debounce.merged}
    )
    yield from _metric("translations_total", "counter", "Translations of one scope.", {"": counters.translations})
    seconds = {"": round(counters.translation_seconds, 6)}
    yield from _metric("translation_seconds_total", "counter", "Time spent translating and serialising.", seconds)
    memo = {'result="hit"': publisher.memo.hits, 'result="miss"': publisher.memo.misses}
    yield from _metric("translation_memo_total", "counter", "Results that were, or were not, built before.", memo)
    patches = {"": counters.patches}
    yield from _metric("patched_translations_total", "counter", "Translations of changed instances alone.", patches)
    yield from _metric("loss_guard_held", "gauge", "Instances kept after a sudden loss.", {"": len(world.guard)})
    losses = {"": world.guard.losses}
    yield from _metric("loss_guard_losses_total", "counter", "Sudden losses of instances that were doubted.", losses)
    refused = {"": counters.refused_scopes}
    yield from _metric(
        "scopes_refused_total", "counter", "Kinds of nodes not served, since there were too many.", refused
    )


def _metric(name: str, kind: str, text: str, values: dict[str, int] | dict[str, float]) -> Iterator[str]:
    full = f"isthmus_controlplane_{name}"
    yield f"# HELP {full} {text}"
    yield f"# TYPE {full} {kind}"
    for labels, value in values.items():
        yield f"{full}{{{labels}}} {value}" if labels else f"{full} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
