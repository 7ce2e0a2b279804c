"""Compiles the dynamic_resources of a bootstrap file: one aggregated xDS stream, and streams of single resource types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus_proxy.config.source import compile_api_source, compile_source
from isthmus_proxy.config.values import seconds
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.xds.source import ApiSource


@dataclass(frozen=True, slots=True)
class DynamicResources:
    """What comes from control planes. ``ads`` is the aggregated stream, if there is one; timeouts in seconds.

    Clusters and listeners come by it (if ``cds`` and ``lds``), or by the stream of their own that ``cds_source`` and
    ``lds_source`` name.
    """

    ads: ApiSource | None = None
    cds: bool = False
    lds: bool = False
    cds_source: ApiSource | None = None
    lds_source: ApiSource | None = None
    cds_initial_fetch_timeout: float = 15.0
    lds_initial_fetch_timeout: float = 15.0

    def named(self) -> list[tuple[str, ApiSource]]:
        """The streams that the section itself configures, each with the path of its ApiConfigSource."""
        found = [("ads_config", self.ads), ("cds_config.api_config_source", self.cds_source)]
        found.append(("lds_config.api_config_source", self.lds_source))
        return [(f"dynamic_resources.{name}", source) for name, source in found if source is not None]


def compile_dynamic_resources(bootstrap: Any) -> DynamicResources | None:
    """Compile the checked section; None when it is absent or empty. Raises ConfigError."""
    section = bootstrap.dynamic_resources
    sources: dict[str, ApiSource | None] = {}
    for name in ("cds_config", "lds_config"):
        if section.HasField(name):
            sources[name] = compile_source(getattr(section, name), f"dynamic_resources.{name}")
    ads = None
    if section.HasField("ads_config"):
        ads = compile_api_source(section.ads_config, "dynamic_resources.ads_config")
    elif None in sources.values():
        raise ConfigError("dynamic_resources.ads_config", "", "is required by cds_config and lds_config: ads")
    if ads is None and not sources:
        return None
    if ads is not None or any(source is not None and source.servers for source in sources.values()):
        check_node(bootstrap.node)
    return DynamicResources(
        ads=ads,
        cds="cds_config" in sources,
        lds="lds_config" in sources,
        cds_source=sources.get("cds_config"),
        lds_source=sources.get("lds_config"),
        cds_initial_fetch_timeout=seconds(
            section.cds_config, "initial_fetch_timeout", 15.0, "dynamic_resources.cds_config"
        ),
        lds_initial_fetch_timeout=seconds(
            section.lds_config, "initial_fetch_timeout", 15.0, "dynamic_resources.lds_config"
        ),
    )


def check_node(node: Any) -> None:
    """Raise ConfigError unless control planes can know us by ``node``."""
    for name in ("id", "cluster"):
        if not getattr(node, name):
            raise ConfigError(f"node.{name}", "", "is required where dynamic_resources are used")
