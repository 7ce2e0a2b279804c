"""Compiles config.core.v3.HttpUri: a server of a cluster that the proxy itself asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import required, seconds
from isthmus_proxy.errors import ConfigError


@dataclass(frozen=True, slots=True)
class HttpUri:
    """``path`` has the query; ``timeout`` in seconds, 0 = none."""

    cluster: str
    authority: bytes
    path: bytes
    timeout: float


def compile_http_uri(proto: Any, path: str) -> HttpUri:
    """Compile an HttpUri. Raises ConfigError."""
    text = required(proto, "uri", path)
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.netloc
        or not text.isascii()
        or not text.isprintable()
        or " " in text
    ):
        raise ConfigError(join(path, "uri"), shown(text), "must be an http or https URI with a host")
    if not proto.HasField("timeout"):
        raise ConfigError(join(path, "timeout"), "", "is required")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return HttpUri(
        required(proto, "cluster", path), parts.netloc.encode(), target.encode(), seconds(proto, "timeout", 0.0, path)
    )
