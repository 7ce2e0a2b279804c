"""Which sink gets which services: by node, a selection of namespaces and registries. Pure."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence

from isthmus_mcp_bridge.mcp.snapshot import Collection, Snapshot, SnapshotResource


@dataclasses.dataclass(frozen=True, slots=True)
class SinkFilter:
    """For sinks whose ``node.id`` matches the shell pattern ``node``; an empty selection selects everything."""

    node: str = "*"
    namespaces: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()

    def passes(self, resource: SnapshotResource) -> bool:
        """Whether the sink gets this service: its namespace is selected, and one of the registries that claim it."""
        if self.namespaces and resource.namespace not in self.namespaces:
            return False
        return not self.registries or any(name in self.registries for name in resource.sources)


EVERYTHING = SinkFilter()


def filter_for(filters: Sequence[SinkFilter], node: str) -> SinkFilter:
    """The first filter that is meant for the node; everything when there is none."""
    return next((one for one in filters if fnmatch.fnmatchcase(node, one.node)), EVERYTHING)


class Views:
    """The snapshot as each filter lets it through; made when first asked for, then kept up change by change."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._views: dict[SinkFilter, tuple[str, Snapshot]] = {}

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on."""
        self._snapshot = snapshot

    def view(self, wanted: SinkFilter) -> Snapshot:
        """What a sink with this filter is to see."""
        whole = self._snapshot.service_entries
        if whole is None or (not wanted.namespaces and not wanted.registries):
            return self._snapshot
        version, view = self._views.get(wanted, ("", Snapshot()))
        if version != whole.version:
            view = Snapshot(_narrowed(wanted, whole, version, view.service_entries))
            self._views[wanted] = (whole.version, view)
        return view


def _narrowed(wanted: SinkFilter, whole: Collection, version: str, before: Collection | None) -> Collection:
    names = whole.changed_since(version) if before is not None else None
    if before is None or names is None:
        passing = {name: one for name, one in whole.resources.items() if wanted.passes(one)}
        return Collection(passing)
    found = {name: whole.resources.get(name) for name in names}
    return before.changed(
        {name: one if one is not None and wanted.passes(one) else None for name, one in found.items()}
    )
