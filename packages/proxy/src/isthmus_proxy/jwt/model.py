"""Compiled configuration of jwt_authn: immutable values. Built by ``config.http_filters.jwt_authn``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from isthmus_proxy.route.model import StringMatch


@dataclass(frozen=True, slots=True)
class HeaderLocation:
    """A header that holds a token behind ``prefix``, which may stand anywhere in its value."""

    name: bytes
    prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class RemoteJwks:
    """Where a key set is fetched. Times in seconds; ``in_advance``: at once and again before the set is too old."""

    cluster: str
    authority: bytes
    path: bytes
    timeout: float
    cache_duration: float = 600.0
    in_advance: bool = False
    retry_after_failure: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """JwtProvider. Its keys are those of ``local_jwks``, or of ``remote_jwks``.

    Tokens are looked for in ``headers``, ``parameters`` and ``cookies``. ``issuer`` and ``audiences`` empty: any.
    ``claims`` are (header, path of the claim). ``cache_size`` 0: nothing is remembered of tokens.
    """

    name: str
    issuer: str
    local_jwks: bytes | None = None
    remote_jwks: RemoteJwks | None = None
    audiences: frozenset[str] = frozenset()
    subjects: StringMatch | None = None
    require_expiration: bool = False
    max_lifetime: float | None = None
    headers: tuple[HeaderLocation, ...] = (HeaderLocation(b"authorization", b"Bearer "),)
    parameters: tuple[bytes, ...] = (b"access_token",)
    cookies: tuple[bytes, ...] = ()
    forward: bool = False
    payload_header: bytes = b""
    pad_payload_header: bool = False
    payload_in_metadata: str = ""
    header_in_metadata: str = ""
    space_delimited_claims: tuple[str, ...] = ()
    clock_skew: int = 60
    claims: tuple[tuple[bytes, tuple[str, ...]], ...] = ()
    clear_route_cache: bool = False
    cache_size: int = 0
    cached_token_size: int = 4096


@dataclass(frozen=True, slots=True)
class ByProvider:
    """A token of ``provider``, for one of ``audiences`` if they are given, else for one of the provider's."""

    provider: Provider
    audiences: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class RequiresAny:
    """One of ``requirements`` holds. ``missing``: or there is no token; ``failed``: or anything."""

    requirements: tuple[Requirement, ...]
    missing: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class RequiresAll:
    """Every one of ``requirements`` holds."""

    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Allowing:
    """Tokens of any of ``providers`` are looked at; there need be none, and with ``failed`` bad ones do no harm."""

    providers: tuple[Provider, ...]
    failed: bool = False


Requirement: TypeAlias = ByProvider | RequiresAny | RequiresAll | Allowing
