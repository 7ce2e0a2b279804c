"""The configuration that a control plane sent last, as bytes that a later process can start from; no I/O.

Layout: a line that names the format, 32 bytes of BLAKE2b over all that follows, a line of JSON (for whom and when), then for
each type of resource the length (4 bytes, big-endian) and bytes of a DeltaDiscoveryResponse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf.message import DecodeError

from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SCOPE, Stored
from isthmus_proxy.xds.session import Variant
from isthmus_proxy.xds.subscription import Response

MAX_BYTES = 256 * 1024 * 1024
"""Largest configuration that is kept: some 100,000 clusters with their endpoints."""

ORDER = (RUNTIME, CLUSTER, ENDPOINT, LISTENER, EXTENSION, SCOPE, ROUTE)
"""Types in the order in which they go into service, so that nothing dangles."""

_RARE = frozenset({EXTENSION, SCOPE})
"""Types that are left out of the file where there is none of them, so that it is what older versions read."""

_MAGIC = b"isthmus-proxy xds 1\n"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose configuration it is: node id and cluster, as the control plane knows them."""

    node_id: str
    node_cluster: str


@dataclass(frozen=True, slots=True)
class LastGood:
    """``saved_at`` is wall-clock seconds; ``types`` has at most one response for each type, in ``ORDER``."""

    owner: Owner
    saved_at: float
    types: tuple[DeltaDiscoveryResponse, ...]

    @property
    def resource_count(self) -> int:
        """Resources of all types."""
        return sum(len(response.resources) for response in self.types)

    def responses(self, variant: Variant) -> list[Response]:
        """The same as responses of a variant of the protocol."""
        return [*self.types] if variant == "delta" else [_state_of_the_world(response) for response in self.types]


def encode(owner: Owner, saved_at: float, accepted: Iterable[tuple[str, Mapping[str, Stored]]]) -> bytes:
    """``accepted`` are types with their resources by name, in any order."""
    by_type = dict(accepted)
    header = {"node_id": owner.node_id, "node_cluster": owner.node_cluster, "saved_at": saved_at}
    parts = [json.dumps(header).encode() + b"\n"]
    for type_url in ORDER:
        resources = by_type.get(type_url, {})
        if type_url in _RARE and not resources:
            continue
        body = _pack(type_url, resources).SerializeToString()
        parts += [len(body).to_bytes(4, "big"), body]
    payload = b"".join(parts)
    return _MAGIC + hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest() + payload


def decode(data: bytes) -> LastGood:
    """Raises ValueError, with words that can be shown, for anything that ``encode`` did not write."""
    start = len(_MAGIC) + _DIGEST_BYTES
    if data[: len(_MAGIC)] != _MAGIC:
        reason = "is of another format or version"
        raise ValueError(reason)
    payload = data[start:]
    if hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest() != data[len(_MAGIC) : start]:
        reason = "is damaged: its checksum does not fit"
        raise ValueError(reason)
    try:
        return _decode(payload)
    except (DecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        reason = f"cannot be read: {error!r}"
        raise ValueError(reason) from error


def _decode(payload: bytes) -> LastGood:
    line, _, rest = payload.partition(b"\n")
    header = json.loads(line)
    types: list[DeltaDiscoveryResponse] = []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        types.append(DeltaDiscoveryResponse.FromString(rest[4 : 4 + size]))
        rest = rest[4 + size :]
    found = [response.type_url for response in types]
    if found != [type_url for type_url in ORDER if type_url in found or type_url not in _RARE]:
        reason = "does not have the types of resources that it should have"
        raise ValueError(reason)
    owner = Owner(str(header["node_id"]), str(header["node_cluster"]))
    return LastGood(owner, float(header["saved_at"]), tuple(types))


def _pack(type_url: str, resources: Mapping[str, Stored]) -> DeltaDiscoveryResponse:
    response = DeltaDiscoveryResponse(type_url=type_url)
    for name, stored in resources.items():
        item = response.resources.add(name=name, version=stored.version)
        item.resource.type_url, item.resource.value = type_url, stored.body
    return response


def _state_of_the_world(saved: DeltaDiscoveryResponse) -> DiscoveryResponse:
    response = DiscoveryResponse(type_url=saved.type_url)
    for item in saved.resources:
        response.resources.add().CopyFrom(item.resource)
        response.version_info = item.version
    return response
