"""The source's side of a delta stream: a response holds what differs from what the sink has acknowledged.

What the sink has changes only by an ACK. After a NACK nothing is sent until there is a newer snapshot, and then the
difference from what was last acknowledged. A difference too big for one message is sent in several, each after the
answer to the one before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from isthmus_mcp_bridge.mcp.session import DeltaRequest, NewNonce, Outcome, Response, TypeStatus, check_bounds
from isthmus_mcp_bridge.mcp.snapshot import (
    DISCOVERY_RESPONSE_RESOURCES,
    Collection,
    Snapshot,
    SnapshotResource,
)
from isthmus_mcp_bridge.mcp.type_urls import collection_for
from isthmus_mcp_bridge.mcp.wire import embedded

_RESOURCE_VERSION = 1
_RESOURCE_RESOURCE = 2
_RESOURCE_NAME = 3
_REMOVED_RESOURCES = 6


@dataclasses.dataclass(slots=True)
class _Type:
    """One type on the stream; ``held`` maps names to the versions that the sink has acknowledged."""

    held: dict[str, str]
    wildcard: bool = False
    names: set[str] = dataclasses.field(default_factory=set)
    status: TypeStatus = dataclasses.field(default_factory=TypeStatus)
    nonce: str = ""
    answered: bool = True
    due: bool = True
    level_with: str = ""
    """The version of the collection that ``held`` is level with; empty when it is not known to be."""
    pending: dict[str, str | None] = dataclasses.field(default_factory=dict)
    """What the unanswered response brings to ``held``: versions, and None for removals."""
    pending_is_all: bool = False
    absent: set[str] = dataclasses.field(default_factory=set)
    """Names asked for that do not exist, of which the sink is to be told."""


@dataclasses.dataclass(frozen=True, slots=True)
class Encoding:
    """How a response writes a resource, and the name of a removed one."""

    resource: Callable[[SnapshotResource], bytes]
    removed: Callable[[str], bytes]


class DeltaSession:
    """One DeltaAggregatedResources stream."""

    def __init__(self, new_nonce: NewNonce, max_body_bytes: int, encoding: Encoding | None = None) -> None:
        """``max_body_bytes`` bounds the resources of a response (one resource is sent whole, whatever its size)."""
        self._encoding = encoding or Encoding(_delta_resource, _delta_removed)
        self._new_nonce = new_nonce
        self._max_body_bytes = max_body_bytes
        self._snapshot = Snapshot()
        self._types: dict[str, _Type] = {}

    @property
    def status(self) -> Mapping[str, TypeStatus]:
        """How each requested type stands."""
        return {type_url: one.status for type_url, one in self._types.items()}

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on."""
        self._snapshot = snapshot

    def handle_request(self, request: DeltaRequest) -> Outcome:
        """Take one request. Raises TooManyTypes."""
        known = self._types.get(request.type_url)
        if known is None:
            check_bounds(request.type_url, len(self._types))
            known = self._types[request.type_url] = _Type(dict(request.held))
            known.wildcard = not request.subscribe
        changed = self._change_names(known, request)
        if not known.nonce or not request.nonce:
            # Nothing was sent yet or no answer is meant: names (or, at first, everything) is all that it can be about.
            return Outcome.SUBSCRIBE
        if request.nonce != known.nonce or known.answered:
            return Outcome.SUBSCRIBE if changed else Outcome.STALE
        return self._answer(known, request)

    def next_response(self) -> Response | None:
        """The next response that may be sent now, types in the order in which they were asked for."""
        for type_url, one in self._types.items():
            collection = collection_for(type_url, self._snapshot)
            if collection is None or not one.answered:
                continue
            version = collection.version
            if not one.due and version in (one.level_with, one.status.rejected_version):
                continue
            body = self._difference(one, collection)
            if not body and not one.due:
                one.level_with = version
                continue
            one.nonce, one.answered, one.due = self._new_nonce(), False, False
            one.status.sent_version = version
            return Response(type_url, version, one.nonce, body, len(one.pending))
        return None

    def _change_names(self, known: _Type, request: DeltaRequest) -> bool:
        """Take what the request subscribes and unsubscribes. Returns whether there was something."""
        for name in request.subscribe:
            if name == "*":
                known.wildcard = True
            else:
                known.names.add(name)
                known.absent.add(name)
                known.held.pop(name, None)  # the sink asks for it (again), so it does not count as held
        for name in request.unsubscribe:
            if name == "*":
                known.wildcard = False
            known.names.discard(name)
            known.absent.discard(name)
        if not request.subscribe and not request.unsubscribe:
            return False
        known.level_with = ""
        known.due = known.due or bool(request.subscribe)
        if not known.wildcard:
            for name in [name for name in known.held if name not in known.names]:
                del known.held[name]
        return True

    def _answer(self, known: _Type, request: DeltaRequest) -> Outcome:
        status = known.status
        known.answered = True
        pending, known.pending = known.pending, {}
        if request.error is not None:
            status.rejected_version, status.rejection = status.sent_version, request.error
            return Outcome.NACK
        for name, version in pending.items():
            if version is None:
                known.held.pop(name, None)
            elif known.wildcard or name in known.names:
                known.held[name] = version
            known.absent.discard(name)
        if known.pending_is_all:
            known.level_with = status.sent_version
        status.acked_version, status.rejected_version, status.rejection = status.sent_version, "", None
        return Outcome.ACK

    def _difference(self, one: _Type, collection: Collection) -> bytes:
        """Serialise what the sink lacks and what it must forget, as far as one message may go; notes it as pending."""
        wanted = None if one.wildcard else frozenset(one.names)
        one.pending, one.pending_is_all = {}, True
        parts: list[bytes] = []
        size = 0
        names = collection.changed_since(one.level_with) if wanted is None and one.level_with else None
        # Not by set operations on views: those would walk through all names for the few that changed.
        known = one.held if names is None else [name for name in names if name in one.held]
        for name in sorted({name for name in (*known, *one.absent) if name not in collection.resources}):
            parts.append(self._encoding.removed(name))
            size += len(parts[-1])
            one.pending[name] = None
        for resource in collection.selected(wanted if names is None else names):
            if one.held.get(resource.name) == resource.version:
                continue
            part = self._encoding.resource(resource)
            if one.pending and size + len(part) > self._max_body_bytes:
                one.pending_is_all = False
                break
            parts.append(part)
            size += len(part)
            one.pending[resource.name] = resource.version
        return b"".join(parts)


def _delta_removed(name: str) -> bytes:
    return embedded(_REMOVED_RESOURCES, name.encode())


def _delta_resource(resource: SnapshotResource) -> bytes:
    message = (
        embedded(_RESOURCE_VERSION, resource.version.encode())
        + embedded(_RESOURCE_RESOURCE, resource.packed)
        + embedded(_RESOURCE_NAME, resource.name.encode())
    )
    return embedded(DISCOVERY_RESPONSE_RESOURCES, message)
