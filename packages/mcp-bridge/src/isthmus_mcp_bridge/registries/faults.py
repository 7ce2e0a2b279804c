"""What goes wrong with a registry and passes: adapters raise it inside, report SourceSuspected and try again."""

from __future__ import annotations

from isthmus_mcp_bridge.errors import BridgeError


class RegistryFault(BridgeError):  # noqa: N818 - it is the registry's or the network's, and passes
    """A read did not succeed, or the answer makes no sense. Worth another try; nothing is concluded from it."""
