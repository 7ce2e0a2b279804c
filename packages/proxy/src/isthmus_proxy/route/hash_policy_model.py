"""Hash policies of a route, compiled (config.route.v3.RouteAction.HashPolicy). Built by ``config.hash_policy``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeaderHash:
    """All values of a header, sorted, after ``rewrite`` (pattern and substitution). Absent: no hash."""

    name: bytes
    rewrite: tuple[bytes, bytes] | None = None
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class CookieHash:
    """A cookie. With ``ttl`` (seconds, 0 = until the browser closes) one is made for a client that has none."""

    name: bytes
    ttl: int | None = None
    path: bytes = b""
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class SourceIpHash:
    """The client's IP address."""

    terminal: bool = False


@dataclass(frozen=True, slots=True)
class QueryParameterHash:
    """The first value of a query parameter, as sent."""

    name: bytes
    terminal: bool = False


HashPolicy = HeaderHash | CookieHash | SourceIpHash | QueryParameterHash
