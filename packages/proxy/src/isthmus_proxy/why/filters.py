"""What the HTTP filters before the router would do with a request, as far as the request alone decides it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.listener.model import HttpFilterConfig
from isthmus_proxy.route.filter_overrides import overrides
from isthmus_proxy.route.model import Decision

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.rbac import RbacConfig
    from isthmus_proxy.rbac.engine import PeerNames

_Row = dict[str, object]


class Asker:
    """Who asks, as access control sees it (``rbac.engine.Subject``): nobody has shown a certificate or said anything of the request."""

    def __init__(
        self, head: RequestHead, source: str, destination: str, server_name: str, route: Decision | None
    ) -> None:
        self.head = head
        self.source = self.remote = self.direct_remote = source
        self.destination = destination
        self.server_name = server_name
        self.peer: PeerNames | None = None
        self.dynamic_metadata: Mapping[str, Mapping[str, object]] = {}
        self.filter_state: Mapping[str, str] = {}
        metadata = {} if route is None else route.route.metadata
        self.route_metadata = {name: value for name, value in metadata.items() if isinstance(value, Mapping)}


def explain_filters(filters: tuple[HttpFilterConfig, ...], asker: Asker, decision: Decision | None) -> Iterator[_Row]:
    """A row for each filter, in order. ``verdict`` is there where it can be told."""
    for each in filters:
        levels = () if decision is None else overrides(decision, None, each.name)
        row: _Row = {"name": each.name, "kind": type(each.config).__name__.removesuffix("Config")}
        if levels[-1].disabled if levels else each.disabled:
            row["verdict"] = "disabled here"
        elif row["kind"] == "Rbac":
            configs = [level.config for level in levels if level.config is not None]
            row["verdict"] = _access(configs[-1] if configs else each.config, asker)
        yield row


def _access(config: RbacConfig | Any, asker: Asker) -> str:
    from isthmus_proxy.http.filters.rbac import denial  # noqa: PLC0415 - loaded where it is configured
    from isthmus_proxy.rbac.engine import Engine  # noqa: PLC0415 - as above

    if config.rules is None:
        return "lets everything pass"
    verdict = Engine(config.rules).decide(asker)
    policy = f"policy {verdict.policy!r} applies" if verdict.policy else "no policy applies"
    if verdict.allowed:
        return f"lets it pass: {policy}"
    return f"refuses it: {policy} (403, {denial(verdict.policy)}), unless a certificate or metadata decides otherwise"
