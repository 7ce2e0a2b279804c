"""WorkloadEntry in protobuf's wire format, written without messages: what they cost a workload adds up in services of thousands.

The bytes are those of protobuf's deterministic serialisation (fields by number, maps sorted by key): a property test compares them.
"""

from __future__ import annotations

import functools

from isthmus_mcp_bridge.mcp.wire import embedded, varint
from isthmus_mcp_bridge.model import Labels, Workload

ENDPOINTS = 6
"""Field number of ``endpoints`` in ServiceEntry, the last one that the bridge writes."""
REMEMBERED = 65_536
"""Ports and labels whose bytes are remembered: the same ones stand on many instances."""
_ADDRESS, _PORTS, _LABELS, _NETWORK, _LOCALITY, _WEIGHT, _SERVICE_ACCOUNT = range(1, 8)
_KEY, _VALUE = 1, 2
_ADDRESS_TAG = varint(_ADDRESS << 3 | 2)
_ENDPOINTS_TAG = varint(ENDPOINTS << 3 | 2)


def workload_bytes(one: Workload) -> bytes:
    """The workload as it stands among the ``endpoints`` of a ServiceEntry, tag and length included."""
    address = one.address.encode()
    body = b"".join(
        (
            _ADDRESS_TAG + varint(len(address)) + address if address else b"",
            _port_map(one.ports),
            _label_map(one.labels),
            _rest(one.network, one.locality, one.weight, one.service_account),
        )
    )
    return _ENDPOINTS_TAG + varint(len(body)) + body


@functools.lru_cache(REMEMBERED)
def _port_map(ports: tuple[tuple[str, int], ...]) -> bytes:
    return b"".join(
        embedded(_PORTS, embedded(_KEY, name.encode()) + varint(_VALUE << 3) + varint(number))
        for name, number in sorted(dict(ports).items(), key=_map_order)
    )


@functools.lru_cache(REMEMBERED)
def _label_map(labels: Labels) -> bytes:
    return b"".join(
        embedded(_LABELS, embedded(_KEY, key.encode()) + embedded(_VALUE, value.encode()))
        for key, value in sorted(dict(labels).items(), key=_map_order)
    )


@functools.lru_cache(REMEMBERED)
def _rest(network: str, locality: str, weight: int, service_account: str) -> bytes:
    parts = [embedded(_NETWORK, network.encode())] if network else []
    parts += [embedded(_LOCALITY, locality.encode())] if locality else []
    parts += [varint(_WEIGHT << 3) + varint(weight)] if weight else []
    parts += [embedded(_SERVICE_ACCOUNT, service_account.encode())] if service_account else []
    return b"".join(parts)


def _map_order(pair: tuple[str, object]) -> bytes:
    """By the key's bytes, but a key after those that it begins: protobuf's own order, and replicas of earlier releases have it."""
    return pair[0].encode() + b"\xff"
