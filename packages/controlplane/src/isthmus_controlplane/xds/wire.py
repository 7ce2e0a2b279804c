"""Wire form of discovery requests and responses.

Responses are put together from the serialised bytes of shared resources: building protobuf messages per client would
parse and serialise every resource again. The result is byte for byte what protobuf writes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from envoy.config.core.v3.base_pb2 import ControlPlane, Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from isthmus_controlplane.snapshot.resource import Resource, varint
from isthmus_controlplane.snapshot.xdstp import canonical
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.message import DeltaRequest, Request, Response, SotwRequest, Variant

MAX_ERROR_TEXT = 4096
SHORT_REQUEST = 256  # bytes; an acknowledgement without names is shorter
MAX_SHARED_HEAD = 64 * 1024
MAX_SHARED_HEADS = 64
NO_VERSIONS: Mapping[str, str] = MappingProxyType({})
RESOURCE_TYPE_URL = "type.googleapis.com/envoy.service.discovery.v3.Resource"
_TAG = {number: bytes((number << 3 | 2,)) for number in range(1, 8)}  # wire type 2: length-delimited


def encode(variant: Variant, response: Response, identifier: str) -> bytes:
    """Serialise a response; ``identifier`` is the text of ``control_plane``."""
    return b"".join((*_shared(variant, response), *_own(variant, response, identifier)))


def decode(variant: Variant, raw: bytes) -> tuple[Request, Node | None]:
    """Parse a request; the node is None where the client left it out.

    Acknowledgements of many clients are the same bytes, so those are parsed once.

    Raises:
        StreamError: the bytes are not a request, or ask for something that is not supported.
    """
    return _decode_short(variant, raw) if len(raw) <= SHORT_REQUEST else _decode(variant, raw)


@functools.lru_cache(maxsize=4096)
def _decode_short(variant: Variant, raw: bytes) -> tuple[Request, Node | None]:
    return _decode(variant, raw)


def _decode(variant: Variant, raw: bytes) -> tuple[Request, Node | None]:
    message_type = DiscoveryRequest if variant is Variant.SOTW else DeltaDiscoveryRequest
    try:
        message = message_type.FromString(raw)
    except DecodeError as error:
        text = f"request is not a {message_type.DESCRIPTOR.full_name}: {error}"
        raise StreamError("INVALID_ARGUMENT", text) from error
    request = _sotw_request(message) if variant is Variant.SOTW else _delta_request(message)
    return request, message.node if message.HasField("node") else None


def _field(number: int, body: bytes) -> Iterator[bytes]:
    yield _TAG[number]
    yield varint(len(body))
    yield body


def _text(number: int, text: str) -> Iterator[bytes]:
    if text:  # proto3 leaves out empty fields
        yield from _field(number, text.encode())


@functools.lru_cache(maxsize=8)
def _control_plane(number: int, identifier: str) -> tuple[bytes, ...]:
    return tuple(_field(number, ControlPlane(identifier=identifier).SerializeToString()))


class _Heads:
    """The beginnings of the latest responses: what goes to many clients is put together once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], bytes] = {}

    def get(self, variant: Variant, response: Response) -> tuple[bytes, ...]:
        """Return everything up to what differs between clients."""
        # Resources are told apart by identity, and live as long as an entry names them.
        key = (variant, response.type_url, response.version, response.resources, response.heartbeat, response.wrapped)
        known = self._known.get(key)
        if known is not None:
            return (known,)
        parts = tuple(_sotw_parts(response) if variant is Variant.SOTW else _delta_parts(response))
        if sum(map(len, parts)) > MAX_SHARED_HEAD:
            return parts
        if len(self._known) >= MAX_SHARED_HEADS:
            self._known.clear()
        made = self._known[key] = b"".join(parts)
        return (made,)


_shared = _Heads().get


def _own(variant: Variant, response: Response, identifier: str) -> tuple[bytes, ...]:
    """Write what differs between clients: the nonce, and what a client is told to drop."""
    nonce = _nonce(response.nonce)
    if variant is Variant.SOTW:
        return nonce, *_control_plane(6, identifier)
    removed = (part for name in response.removed for part in _field(6, name.encode()))
    return nonce, *removed, *_control_plane(7, identifier)


@functools.lru_cache(maxsize=1024)
def _nonce(nonce: str) -> bytes:
    return b"".join(_text(5, nonce))


def _sotw_parts(response: Response) -> Iterator[bytes]:
    yield from _text(1, response.version)
    for resource in response.resources:
        if response.wrapped and resource.ttl_ms:
            yield from _field(2, _wrapped(resource, heartbeat=response.heartbeat))
        else:
            yield from _field(2, resource.body)
    yield from _text(4, response.type_url)


def _delta_parts(response: Response) -> Iterator[bytes]:
    yield from _text(1, response.version)
    for resource in response.resources:
        yield from _delta_resource(resource, heartbeat=response.heartbeat)
    yield from _text(4, response.type_url)


def _delta_resource(resource: Resource, *, heartbeat: bool) -> Iterator[bytes]:
    """Write ``envoy.service.discovery.v3.Resource`` around the shared body without copying it first."""
    head, body, tail = _resource_parts(resource, heartbeat=heartbeat)
    yield _TAG[2]
    yield varint(len(head) + len(body) + len(tail))
    yield head
    yield body
    yield tail


def _resource_parts(resource: Resource, *, heartbeat: bool) -> tuple[bytes, bytes, bytes]:
    """Return the fields before the body, the body, and those after it; a heartbeat has no body, nor what does not exist."""
    body = b"" if heartbeat else resource.body
    lead = (_TAG[2], varint(len(body))) if body else ()
    head = b"".join((*_text(1, resource.version), *lead))
    aliases = (part for alias in resource.aliases for part in _field(4, alias.encode()))
    ttl = _field(6, _duration(resource.ttl_ms)) if resource.ttl_ms else ()
    return head, body, b"".join((*_text(3, resource.name), *aliases, *ttl))


def _duration(milliseconds: int) -> bytes:
    message = Duration()
    message.FromMilliseconds(milliseconds)
    return message.SerializeToString()


def _wrapped(resource: Resource, *, heartbeat: bool) -> bytes:
    """Write the ``google.protobuf.Any`` of a ``Resource``, as clients with ``resource-in-sotw`` take it."""
    value = b"".join(_resource_parts(resource, heartbeat=heartbeat))
    return AnyMessage(type_url=RESOURCE_TYPE_URL, value=value).SerializeToString()


def _sotw_request(message: Any) -> SotwRequest:
    _refuse(message, "resource_locators")
    return SotwRequest(
        type_url=message.type_url,
        names=tuple(map(canonical, message.resource_names)),
        nonce=message.response_nonce,
        error=_error(message),
    )


def _delta_request(message: Any) -> DeltaRequest:
    _refuse(message, "resource_locators_subscribe")
    _refuse(message, "resource_locators_unsubscribe")
    return DeltaRequest(
        type_url=message.type_url,
        subscribe=tuple(map(canonical, message.resource_names_subscribe)),
        unsubscribe=tuple(map(canonical, message.resource_names_unsubscribe)),
        nonce=message.response_nonce,
        error=_error(message),
        initial_versions=dict(message.initial_resource_versions) if message.initial_resource_versions else NO_VERSIONS,
    )


def _refuse(message: Any, field: str) -> None:
    if getattr(message, field):
        text = f"{field}: dynamic parameter constraints are not supported; subscribe by resource name"
        raise StreamError("INVALID_ARGUMENT", text)


def _error(message: Any) -> str | None:
    if not message.HasField("error_detail"):
        return None
    return message.error_detail.message[:MAX_ERROR_TEXT] or f"status code {message.error_detail.code}"
