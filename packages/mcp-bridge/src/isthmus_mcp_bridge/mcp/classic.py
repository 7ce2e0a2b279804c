"""The source's side of a classic MCP stream (``istio.mcp.v1alpha1``), as istiod up to 1.8 consumes it; no I/O.

A sink asks per collection; whether it takes increments its first request says. An increment is the difference from what the sink
acknowledged and may travel in several messages; a full answer is one message, whatever its size, because it replaces the collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.mcp.delta import DeltaSession, Encoding
from isthmus_mcp_bridge.mcp.session import DeltaRequest, NewNonce, Outcome, Rejection, Response, SotwRequest, TypeStatus
from isthmus_mcp_bridge.mcp.snapshot import Snapshot, SnapshotResource
from isthmus_mcp_bridge.mcp.sotw import SotwSession
from isthmus_mcp_bridge.mcp.wire import embedded, embedded_value

SERVICE_ENTRIES = "istio/networking/v1alpha3/serviceentries"
TRIGGER = "$triggerCollection"
"""A source that dials out sends this collection first, for the sink to refuse, so that the stream begins."""
_TYPE_URL = "networking.istio.io/v1alpha3/ServiceEntry"
_PREFIX = "istio/"
_RESOURCES = 3
_REMOVED = 4
_ANY_VALUE = 2


class UnsupportedCollection(BridgeError):  # noqa: N818 - ends the stream with INVALID_ARGUMENT
    """A sink asked for a collection that is none of Istio's."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClassicRequest:
    """RequestResources as a value."""

    collection: str
    nonce: str = ""
    held: Mapping[str, str] = dataclasses.field(default_factory=dict)
    incremental: bool = False
    error: Rejection | None = None


class ClassicSession:
    """One EstablishResourceStream."""

    def __init__(self, new_nonce: NewNonce, max_body_bytes: int) -> None:
        """``max_body_bytes`` bounds what an increment brings."""
        self._full = SotwSession(new_nonce, pack_classic)
        self._incremental = DeltaSession(new_nonce, max_body_bytes, Encoding(_resource, _removed))
        self._modes: dict[str, bool] = {}

    @property
    def status(self) -> Mapping[str, TypeStatus]:
        """How each requested collection stands."""
        known = {**self._full.status, **self._incremental.status}
        return {_collection(type_url): one for type_url, one in known.items()}

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on."""
        self._full.publish(snapshot)
        self._incremental.publish(snapshot)

    def handle_request(self, request: ClassicRequest) -> Outcome:
        """Take one request. Raises TooManyTypes and UnsupportedCollection."""
        if request.collection == TRIGGER:
            return Outcome.STALE
        if not request.collection.startswith(_PREFIX):
            raise UnsupportedCollection(
                f"{request.collection[:100]!r} is no collection of Istio, such as {SERVICE_ENTRIES}"
            )
        incremental = self._modes.setdefault(request.collection, request.incremental)
        type_url = _type_url(request.collection)
        if incremental:
            return self._incremental.handle_request(
                DeltaRequest(type_url, request.nonce, held=request.held, error=request.error)
            )
        return self._full.handle_request(SotwRequest(type_url, request.nonce, error=request.error))

    def next_response(self) -> Response | None:
        """The next response that may be sent now."""
        response = self._full.next_response() or self._incremental.next_response()
        if response is None:
            return None
        return dataclasses.replace(response, type_url=_collection(response.type_url))

    def is_incremental(self, collection: str) -> bool:
        """Whether what is sent of this collection are increments."""
        return self._modes.get(collection, False)


def pack_classic(resources: Iterable[SnapshotResource]) -> bytes:
    """The resources as repeated field ``resources`` of ``Resources``."""
    return b"".join(map(_resource, resources))


def _resource(one: SnapshotResource) -> bytes:
    return embedded(_RESOURCES, embedded_value(one.packed, _ANY_VALUE))


def _removed(name: str) -> bytes:
    return embedded(_REMOVED, name.encode())


def _type_url(collection: str) -> str:
    return _TYPE_URL if collection == SERVICE_ENTRIES else collection


def _collection(type_url: str) -> str:
    return SERVICE_ENTRIES if type_url == _TYPE_URL else type_url
