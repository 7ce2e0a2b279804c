"""Reads the URLs that Dubbo writes as node names below ``providers`` and ``configurators``.

The whole URL is encoded once (as a form value) to be a node's name; inside, parameters stand as they are.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from isthmus_mcp_bridge.errors import BridgeError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
MAX_PORT = 65535


class NodeError(BridgeError):
    """A node's name is not what Dubbo writes; the text says what is wrong with it."""


@dataclasses.dataclass(frozen=True, slots=True)
class DubboUrl:
    """A Dubbo URL taken apart. ``port`` is 0 when the URL has none; ``host`` has no brackets."""

    scheme: str
    host: str
    port: int
    path: str
    parameters: Mapping[str, str]

    def get(self, name: str, default: str = "") -> str:
        """A parameter's value; an empty one counts as missing."""
        return self.parameters.get(name) or default


def parse_node_name(name: str) -> DubboUrl:
    """Decode and take apart a node's name. Raises NodeError."""
    text = unquote_plus(name)
    scheme, separator, rest = text.partition("://")
    if not separator or _SCHEME.fullmatch(scheme) is None:
        raise NodeError("is not a URL (scheme://host:port/interface?parameters), encoded as one node name")
    location, _, query = rest.partition("?")
    authority, _, path = location.partition("/")
    host, port = _authority(authority.rpartition("@")[2])
    return DubboUrl(scheme.lower(), host, port, path, _parameters(query))


def _authority(authority: str) -> tuple[str, int]:
    host, colon, digits = authority.rpartition(":")
    if not colon or digits.endswith("]"):
        host, digits = authority, "0"
    if not digits.isascii() or not digits.isdigit() or int(digits[:6]) > MAX_PORT:
        raise NodeError(f"has the port {digits[:20]!r}, which is not a number up to {MAX_PORT}")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise NodeError("names no host")
    return host, int(digits)


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key:
            found.setdefault(key, value)
    return found
