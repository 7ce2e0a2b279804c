"""Signs requests, so that an upstream knows that they came through this proxy and were not changed since.

The signature is HMAC-SHA256 over time, method, authority, path, the chosen headers and, with ``sign_body``, the SHA-256 of the
body. An upstream verifies it with ``verify``.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus_proxy.extension import Exchange, FilterContext, HttpFilter, RequestHeaders

SIGNATURE, SIGNED_AT, DIGEST = "x-signature", "x-signature-time", "x-content-sha256"
SHORTEST_KEY = 16
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Config:
    """``key_file``'s content without white space around it is the key, which is neither shown nor logged."""

    key_id: str
    key: bytes = field(repr=False)
    headers: tuple[str, ...] = ()
    sign_body: bool = False


def signature(key: bytes, seconds: int, request: RequestHeaders, names: Sequence[str]) -> str:
    """The signature, in hexadecimal digits. ``names``: of the headers that are signed, in this order."""
    parts = [str(seconds), request.method, request.authority, request.path]
    parts += [f"{name}:{','.join(request.get_all(name))}" for name in names]
    return hmac.new(key, "\n".join(parts).encode("latin-1"), hashlib.sha256).hexdigest()


def verify(key: bytes, request: RequestHeaders, names: Sequence[str], *, now: float, tolerance: float = 300.0) -> bool:
    """Whether ``request`` carries a signature by ``key`` that is not older than ``tolerance`` seconds."""
    given, at = request.get(SIGNATURE, ""), request.get(SIGNED_AT, "")
    if not at.isascii() or not at.isdigit() or abs(now - int(at)) > tolerance:
        return False
    return hmac.compare_digest(given.rpartition("=")[2], signature(key, int(at), request, names))


class HeaderSigning(HttpFilter[Config]):
    """See the module."""

    changes_request_body = False

    def __init__(self, config: Config, context: FilterContext) -> None:
        super().__init__(config, context)
        self.signed = context.counter("signed")

    @classmethod
    def parse_config(cls, values: Mapping[str, Any]) -> Config:
        """Read the key as well: a key that cannot be read is refused with the configuration."""
        try:
            key = Path(str(values["key_file"])).read_bytes().strip()
        except KeyError:
            raise ValueError("key_file: is required") from None
        except OSError as error:
            raise ValueError(f"key_file: cannot be read: {error.strerror}") from None
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"key_file: the key is shorter than {SHORTEST_KEY} bytes")
        names = [str(name).lower() for name in values.get("headers", [])]
        sign_body = bool(values.get("sign_body", False))
        return Config(str(values.get("key_id", "default")), key, (*names, *([DIGEST] if sign_body else [])), sign_body)

    def now(self) -> float:
        """Seconds of the wall clock."""
        return time.time()

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        """Sign, and let no client bring a signature of its own. A body is signed when it is here."""
        config = self.config_for(exchange)
        if config.sign_body:
            headers.set(DIGEST, hashlib.sha256().hexdigest())
        self._sign(config, headers)

    def on_request_data(self, exchange: Exchange, data: bytes) -> None:
        """All of the body (``buffer_request_bytes``): the head has waited for it."""
        config = self.config_for(exchange)
        if config.sign_body:
            exchange.request.set(DIGEST, hashlib.sha256(data).hexdigest())
            self._sign(config, exchange.request)

    def _sign(self, config: Config, headers: RequestHeaders) -> None:
        seconds = int(self.now())
        headers.set(SIGNED_AT, str(seconds))
        headers.set(SIGNATURE, f"{config.key_id}={signature(config.key, seconds, headers, config.headers)}")
        self.signed.value += 1
