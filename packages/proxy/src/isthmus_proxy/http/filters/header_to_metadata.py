"""header_to_metadata: makes dynamic metadata of headers and cookies (envoy.extensions.filters.http.header_to_metadata.v3).

What goes into the namespace ``envoy.lb`` chooses the subset of endpoints.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

from isthmus_proxy.http.filters.stream_filter import CONTINUE, FilterCallbacks, FilterContext, StreamFilter
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead

DEFAULT_NAMESPACE = "envoy.filters.http.header_to_metadata"
LONGEST = 8 * 1024
"""Longer values, in bytes, are taken for absent."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """KeyValuePair. ``rewrite`` changes the value; ``value``, if not empty, takes its place."""

    namespace: str
    key: str
    value: bytes = b""
    rewrite: Callable[[bytes], bytes] | None = None
    number: bool = False
    base64: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One of header and cookie is not empty."""

    header: bytes
    cookie: bytes
    present: KeyValue | None
    missing: KeyValue | None
    remove: bool = False


@dataclass(frozen=True, slots=True)
class HeaderToMetadataConfig:
    """The rules of each way. A route's configuration replaces the filter's."""

    request: tuple[Rule, ...] = ()
    response: tuple[Rule, ...] = ()

    def make(self, context: FilterContext) -> HeaderToMetadataFactory:
        """See ``FilterConfig``."""
        return HeaderToMetadataFactory(self)


class HeaderToMetadataFactory:
    """See ``FilterFactory``."""

    __slots__ = ("_config",)

    def __init__(self, config: HeaderToMetadataConfig) -> None:
        self._config = config

    def create(self, callbacks: FilterCallbacks, overrides: tuple[HeaderToMetadataConfig, ...]) -> HeaderToMetadata:
        """A filter for one exchange."""
        return HeaderToMetadata(callbacks, overrides[-1] if overrides else self._config)


class HeaderToMetadata(StreamFilter):
    """See the module."""

    __slots__ = ("_config",)

    def __init__(self, callbacks: FilterCallbacks, config: HeaderToMetadataConfig) -> None:
        super().__init__(callbacks)
        self._config = config

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Read the request's headers."""
        for rule in self._config.request:
            head.headers = self._apply(rule, head.headers, _pseudo(head, rule.header))
        return CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Read the response's headers."""
        for rule in self._config.response:
            head.headers = self._apply(rule, head.headers)
        return CONTINUE

    def _apply(self, rule: Rule, headers: Headers, pseudo: bytes | None = None) -> Headers:
        value = _cookie(headers, rule.cookie) if rule.cookie else pseudo or _header(headers, rule.header)
        if value is None:
            if rule.missing is not None:
                self._set(rule.missing, rule.missing.value)
            return headers
        if rule.present is not None:
            pair = rule.present
            if pair.rewrite is not None:
                value = pair.rewrite(value)
            self._set(pair, pair.value or value)
        if rule.remove and rule.header:
            return [field for field in headers if field[0] != rule.header]
        return headers

    def _set(self, pair: KeyValue, value: bytes) -> None:
        found = _value(pair, value) if 0 < len(value) < LONGEST else None
        if found is not None:
            self.callbacks.info.set_metadata(pair.namespace, {pair.key: found})


def _value(pair: KeyValue, value: bytes) -> str | float | None:
    """The value of its type; None if it cannot be read as one."""
    try:
        if pair.base64:
            value = base64.b64decode(value, validate=True)
        text = value.decode("latin-1")
        return float(text) if pair.number else text
    except (binascii.Error, ValueError):
        return None


def _pseudo(head: RequestHead, name: bytes) -> bytes | None:
    """What is no header here though it is one in Envoy."""
    if name == b":path":
        return head.path
    if name == b":method":
        return head.method
    return head.authority if name in (b":authority", b"host") else None


def _header(headers: Headers, name: bytes) -> bytes | None:
    values = [value for key, value in headers if key == name]
    return b",".join(values) if values else None


def _cookie(headers: Headers, name: bytes) -> bytes | None:
    for key, line in headers:
        if key == b"cookie":
            for pair in line.split(b";"):
                found, equals, value = pair.strip().partition(b"=")
                if equals and found == name:
                    return value.strip(b'"') or None
    return None
