"""What a registry's reader must not take for foreign truth: entries that went through our own cluster. Pure.

Those that a replica of our cluster wrote for its leases tell us of the instances that it holds; so all replicas claim the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from isthmus_mcp_bridge.backsync.layouts import Layout
from isthmus_mcp_bridge.backsync.marks import PREFIX, Marks, read_marks
from isthmus_mcp_bridge.dualmode.instance import Instance
from isthmus_mcp_bridge.errors import HostNameError
from isthmus_mcp_bridge.registration.model import InstanceKey, Registered, mesh_protocol, naming_of
from isthmus_mcp_bridge.registries.dubbo.dubbo_url import DubboUrl, NodeError, parse_node_name
from isthmus_mcp_bridge.registries.dubbo.providers import handed_on_by
from isthmus_mcp_bridge.registries.naming import NamingRule

Learn = Callable[[str, str, Sequence[Registered]], None]
Forget = Callable[[str, Iterable[str]], None]


class OwnEntries:
    """Sifts the entries of one registry."""

    def __init__(
        self, cluster: str, registry: str, layout: Layout, rule: NamingRule, learn: Learn, forget: Forget
    ) -> None:
        """``learn`` is told the registry, an origin and the instances in it; ``forget`` the origins that are left."""
        self._cluster = cluster
        self._registry = registry
        self._layout = layout
        self._rule = rule
        self._learn = learn
        self._forget = forget
        self._ignored: dict[str, int] = {}

    @property
    def ignored(self) -> int:
        """Entries that stand in the registry and went through our cluster."""
        return sum(self._ignored.values())

    def sift(self, origin: str, interface: str, names: Sequence[str]) -> tuple[str, ...]:
        """The names that are not our own cluster's; of the others the instances are learned."""
        foreign, found, ignored = [], [], 0
        for name in names:
            url = _marked(name)
            if url is None or self._cluster not in handed_on_by(url):
                foreign.append(name)
                continue
            ignored += 1
            marks = read_marks(url.parameters)
            if marks is not None and marks.writer == self._cluster and not marks.mirrored:
                one = self._registered(url, interface, marks)
                if one is not None:
                    found.append(one)
        self._ignored[origin] = ignored
        self._learn(self._registry, origin, found)
        return tuple(foreign)

    def remove(self, origin: str) -> None:
        """The origin is gone."""
        self._ignored.pop(origin, None)
        self._learn(self._registry, origin, ())

    def listed(self, origins: Iterable[str]) -> None:
        """The registry holds these origins and no others."""
        kept = set(origins)
        self._ignored = {origin: count for origin, count in self._ignored.items() if origin in kept}
        self._forget(self._registry, kept)

    def _registered(self, url: DubboUrl, interface: str, marks: Marks) -> Registered | None:
        service = self._layout.service(url, interface)
        about = self._layout.describe(url, interface)
        try:
            key = naming_of(self._rule, service).key
            protocol = mesh_protocol(service)
        except (HostNameError, KeyError):
            return None
        native_up, mesh_up = marks.up
        instance = Instance(
            service=key,
            protocol=protocol,
            id=marks.instance,
            application=about.application,
            labels=about.metadata,
            native=marks.native,
            mesh=marks.mesh,
            native_up=native_up and marks.native is not None,
            mesh_up=mesh_up and marks.mesh is not None,
        )
        return Registered(InstanceKey(service, marks.instance), instance, marks.epoch, about.metadata, about.zone)


def _marked(name: str) -> DubboUrl | None:
    """The URL of an entry that may have marks; None for all others, which are most."""
    if PREFIX not in name:
        return None
    try:
        return parse_node_name(name)
    except NodeError:
        return None
