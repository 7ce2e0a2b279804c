"""Which collection a requested type URL means.

MCP over xDS names types as ``group/version/Kind``. The version follows the sink (istiod asks for v1alpha3 up to 1.23 and
for v1 since), the content is the same, so group and kind decide and the URL is echoed as it was asked for.
"""

from __future__ import annotations

from isthmus_mcp_bridge.mcp.snapshot import EMPTY, Collection, Snapshot

MESH_CONFIG = "MeshConfig"
"""istiod asks for it first, takes an answer only with exactly one MeshConfig in it, and does not wait for one."""

_GROUP = "networking.istio.io"
_KIND = "ServiceEntry"
_VERSIONS = ("v1", "v1alpha3", "v1beta1")


def is_service_entry(type_url: str) -> bool:
    """Whether the URL means ServiceEntry in one of its API versions."""
    parts = type_url.split("/")
    return len(parts) == 3 and parts[0] == _GROUP and parts[1] in _VERSIONS and parts[2] == _KIND


def collection_for(type_url: str, snapshot: Snapshot) -> Collection | None:
    """The collection to answer with; None when there is no answer (now, or for MeshConfig ever)."""
    if is_service_entry(type_url):
        return snapshot.service_entries
    return None if type_url.rpartition("/")[2] == MESH_CONFIG else EMPTY
