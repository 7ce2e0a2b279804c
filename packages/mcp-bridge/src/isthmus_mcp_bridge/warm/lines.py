"""The lines of a warm-start file: each one a JSON array after its CRC-32, readable alone. Pure.

::

    <crc32 of the rest, 8 hex digits> ["origin", SOURCE, ORIGIN, [CLAIM...]]     no claims: the origin is gone
                                      ["state", SOURCE, LIVE, EPOCH_S]           LIVE since, or unheard since
                                      ["vip", NAMESPACE, HOST, ADDRESS, EPOCH_S] rests until then; 0: is in use
"""

from __future__ import annotations

import functools
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus_mcp_bridge.model import (
    EndpointClaim,
    Labels,
    Presence,
    ServiceClaim,
    ServiceKey,
    ServicePort,
    Side,
    WarmUp,
)

FORMAT = "isthmus-warm-start-1"


def encode(entry: Sequence[Any]) -> bytes:
    """One line."""
    text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> list[Any]:
    """The entry of a line. Raises ValueError when it is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or len(checksum) != 8 or int(checksum, 16) != zlib.crc32(text):
        raise ValueError("the checksum does not match")
    entry = json.loads(text)
    if not isinstance(entry, list) or not entry:
        raise ValueError("is not an entry")
    return entry


def origin_entry(source: str, origin: str, claims: Mapping[ServiceKey, ServiceClaim]) -> list[Any]:
    """What an origin claims, as an entry."""
    return ["origin", source, origin, [_claim(one) for one in claims.values()]]


def read_claims(values: Sequence[Any]) -> dict[ServiceKey, ServiceClaim]:
    """The claims of an origin's entry. Raises ValueError, TypeError, IndexError or KeyError when it holds none."""
    return {claim.key: claim for claim in map(_read_claim, values)}


def _claim(claim: ServiceClaim) -> list[Any]:
    ports = [[one.name, one.number, one.protocol, one.stated] for one in claim.ports]
    endpoints = [_endpoint(one) for one in claim.endpoints]
    return [claim.key.namespace, claim.key.host, ports, endpoints, claim.addresses, claim.raw_names,
            claim.created_ms, claim.raw_labels]  # fmt: skip


def _endpoint(one: EndpointClaim) -> list[Any]:
    values: list[Any] = [
        one.service_port,
        one.address,
        one.port,
        one.raw_id,
        one.labels,
        one.weight,
        one.presence.value,
    ]
    rest = [one.network, one.locality, one.service_account]
    warm_up = [one.warm_up.start_ms, one.warm_up.duration_ms, one.warm_up.first_percent] if one.warm_up else None
    identity: list[Any] = [one.side.value, one.instance] if one.instance or one.side is not Side.NATIVE else []
    if one.path:
        return [*values, *rest, warm_up, one.side.value, one.instance, one.path]
    return [*values, *rest, warm_up, *identity] if warm_up or identity or any(rest) else values


def _read_claim(value: Any) -> ServiceClaim:
    namespace, host, ports, endpoints, addresses, raw_names, created_ms, raw_labels = value
    return ServiceClaim(
        ServiceKey(namespace, host),
        tuple(ServicePort(*port) for port in ports),
        tuple(map(_read_endpoint, endpoints)),
        tuple(addresses),
        tuple(raw_names),
        created_ms,
        _pairs(raw_labels),
    )


_PRESENCE = {one.value: one for one in Presence}
_SIDE = {one.value: one for one in Side}


def _read_endpoint(value: Any) -> EndpointClaim:
    port, address, number, raw_id, labels, weight, presence, *rest = value
    network, locality, account, warm_up, *identity = rest or ("", "", "", None)
    side, instance, *path = identity or ("native", "")
    port, labels = sys.intern(port), _shared(_pairs(labels))
    return EndpointClaim(port, address, number, raw_id, network, _PRESENCE[presence], weight, labels, locality, account,
                         WarmUp(*warm_up) if warm_up else None, _SIDE[side], instance,
                         tuple(path[0]) if path else ())  # fmt: skip


@functools.lru_cache(65_536)
def _shared(labels: Labels) -> Labels:
    """The same object for equal labels, which stand on all instances of a service."""
    return labels


def _pairs(values: Any) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in values) if values else ()
