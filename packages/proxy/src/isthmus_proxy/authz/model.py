"""What an authorization service is asked, and what its answer means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from isthmus_proxy.route.model import StringMatch

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]
Patterns: TypeAlias = tuple[StringMatch, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer. ``set`` and ``append`` change the request before it goes on, ``remove`` and the query changes too;
    ``extend`` puts a comma and a value behind what a header has, if it is there.

    ``to_client`` are headers of a denial, ``client_set`` and ``client_add`` those of the response to a request that passes.
    """

    kind: Literal["ok", "denied", "error"]
    status: int = 403
    body: bytes = b""
    set: Fields = ()
    append: Fields = ()
    extend: Fields = ()
    remove: tuple[bytes, ...] = ()
    query_set: Fields = ()
    query_remove: tuple[bytes, ...] = ()
    to_client: Fields = ()
    client_set: Fields = ()
    client_add: Fields = ()
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def changes_request(self) -> bool:
        """Whether the request is another one after it."""
        changed = self.set or self.append or self.extend or self.remove or self.query_set or self.query_remove
        return bool(changed)


FAILED = Verdict("error")


@dataclass(frozen=True, slots=True)
class HttpServer:
    """HttpService: the check is the request's head, with another path prefix, sent to ``cluster``.

    ``upstream`` and ``append`` say which headers of a good answer go on with the request, ``client`` which of a bad one go to the
    client (empty: all), ``client_on_success`` which of a good one, ``metadata`` which become dynamic metadata.
    """

    cluster: str
    timeout: float
    path_prefix: bytes = b""
    headers_to_add: Fields = ()
    upstream: Patterns = ()
    append: Patterns = ()
    client: Patterns = ()
    client_on_success: Patterns = ()
    metadata: Patterns = ()


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """GrpcService: envoy.service.auth.v3.Authorization of ``cluster``."""

    cluster: str
    timeout: float
    authority: str = ""


@dataclass(frozen=True, slots=True)
class BodySettings:
    """BufferSettings: at most ``limit`` bytes; a longer body is cut if ``partial``, else the request is answered 413."""

    limit: int
    partial: bool = False
    as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to be judged. ``headers`` are those that may be told; ``partial``: ``body`` is not all of it, None: no body is sent.

    Addresses are ``host:port``; ``time`` in seconds since 1970.
    """

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    headers: Fields
    body: bytes = b""
    partial: bool | None = None
    as_bytes: bool = False
    protocol: str = "HTTP/1.1"
    size: int = -1
    stream_id: str = ""
    source: str = ""
    destination: str = ""
    time: float = 0.0
    context: Fields = ()
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    route_metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
