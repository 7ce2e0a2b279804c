"""The source's side of a SotW stream: every response holds all resources of a type."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from isthmus_mcp_bridge.mcp.session import NewNonce, Outcome, Response, SotwRequest, TypeStatus, check_bounds
from isthmus_mcp_bridge.mcp.snapshot import Collection, Snapshot, SnapshotResource, pack_all
from isthmus_mcp_bridge.mcp.type_urls import collection_for

Pack = Callable[[Iterable[SnapshotResource]], bytes]


@dataclasses.dataclass(slots=True)
class _Type:
    """One type on the stream. ``nonce`` is that of the last response; none was sent while it is empty."""

    names: frozenset[str] | None
    status: TypeStatus = dataclasses.field(default_factory=TypeStatus)
    nonce: str = ""
    answered: bool = True
    due: bool = True
    """A response is owed even if the version is one that the sink has seen."""


class SotwSession:
    """One StreamAggregatedResources stream."""

    def __init__(self, new_nonce: NewNonce, pack: Pack | None = None) -> None:
        """``pack`` writes the resources of a response; by default as a DiscoveryResponse has them."""
        self._pack = pack
        self._new_nonce = new_nonce
        self._snapshot = Snapshot()
        self._types: dict[str, _Type] = {}

    @property
    def status(self) -> Mapping[str, TypeStatus]:
        """How each requested type stands."""
        return {type_url: one.status for type_url, one in self._types.items()}

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on."""
        self._snapshot = snapshot

    def handle_request(self, request: SotwRequest) -> Outcome:
        """Take one request. Raises TooManyTypes."""
        names = None if not request.names or "*" in request.names else frozenset(request.names)
        known = self._types.get(request.type_url)
        if known is None:
            check_bounds(request.type_url, len(self._types))
            self._types[request.type_url] = _Type(names)
            return Outcome.SUBSCRIBE
        if not known.nonce or not request.nonce:
            # Nothing was sent yet, so whatever the nonce says (istiod writes the time into it), this is no answer.
            return self._subscribe(known, names)
        if request.nonce != known.nonce:
            return Outcome.STALE
        return self._answer(known, request, names)

    def next_response(self) -> Response | None:
        """The next response that may be sent now, types in the order in which they were asked for."""
        for type_url, one in self._types.items():
            collection = collection_for(type_url, self._snapshot)
            if collection is None or not one.answered:
                continue
            if not one.due and collection.version == one.status.sent_version:
                continue
            one.nonce, one.answered, one.due = self._new_nonce(), False, False
            one.status.sent_version = collection.version
            return self._response(type_url, one, collection)
        return None

    def _response(self, type_url: str, one: _Type, collection: Collection) -> Response:
        """The whole collection, whose bytes all streams share, or the part that was asked for."""
        if one.names is None and self._pack is None:
            return Response(type_url, collection.version, one.nonce, collection.body, len(collection.resources))
        selected = list(collection.selected(one.names))
        body = (self._pack or pack_all)(selected)
        return Response(type_url, collection.version, one.nonce, body, len(selected))

    def _subscribe(self, known: _Type, names: frozenset[str] | None) -> Outcome:
        known.names, known.answered, known.due = names, True, True
        return Outcome.SUBSCRIBE

    def _answer(self, known: _Type, request: SotwRequest, names: frozenset[str] | None) -> Outcome:
        """An ACK or NACK of the latest response; the same message may change the names."""
        status = known.status
        known.answered = True
        known.due = known.due or names != known.names
        known.names = names
        if request.error is None:
            status.acked_version, status.rejected_version, status.rejection = status.sent_version, "", None
            return Outcome.ACK
        status.rejected_version, status.rejection = status.sent_version, request.error
        return Outcome.NACK
