"""xDS control plane that takes Istio configuration, and a library for people who write their own control plane.

`isthmus_controlplane.library` says how the names below are used. They are imported when first used, so that the command line
tools do not load a gRPC server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus_controlplane.library import Cache, LinearCache, Server, SnapshotCache
    from isthmus_controlplane.snapshot.resource import Aliased, Timed
    from isthmus_controlplane.xds.observer import Observer
    from isthmus_controlplane.xds.observer import Silent as Callbacks
    from isthmus_controlplane.xds.server import ServerSettings

__version__ = "0.1.0"
__all__ = [
    "Aliased",
    "Cache",
    "Callbacks",
    "LinearCache",
    "Observer",
    "Server",
    "ServerSettings",
    "SnapshotCache",
    "Timed",
]

_HOMES = {
    "Aliased": "snapshot.resource:Aliased",
    "Cache": "library:Cache",
    "Callbacks": "xds.observer:Silent",
    "LinearCache": "library:LinearCache",
    "Observer": "xds.observer:Observer",
    "Server": "library:Server",
    "ServerSettings": "xds.server:ServerSettings",
    "SnapshotCache": "library:SnapshotCache",
    "Timed": "snapshot.resource:Timed",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
