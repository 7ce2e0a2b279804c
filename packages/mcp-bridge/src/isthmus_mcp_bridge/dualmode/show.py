"""What of an instance consumers are shown, where no policy says otherwise. Pure."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_mcp_bridge.dualmode.instance import Address, Instance

Show = Callable[[Instance], tuple[Address, ...]]
"""The addresses of an instance that consumers are shown, the preferred one first; none: the instance is not shown."""


def mesh_else_native(instance: Instance) -> tuple[Address, ...]:
    """The sidecar's address while it is up, else the application's own."""
    if instance.mesh is not None and instance.mesh_up:
        return (instance.mesh,)
    if instance.native is not None and instance.native_up:
        return (instance.native,)
    return ()
