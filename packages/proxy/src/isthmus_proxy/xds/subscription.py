"""One resource type on one ADS stream, without I/O: what we want, what we have, what to answer.

Two variants of the protocol, one interface. Requests are given back in the order in which they must be sent. The state
that outlives a stream (wanted names, accepted resources, the last good version) is apart from that of the stream (nonce,
names that the server knows of), which ``connected`` starts afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy.service.discovery.v3.discovery_pb2 import Resource as ResourceMessage
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import INVALID_ARGUMENT

from isthmus_proxy.xds.resources import (
    FULL_STATE,
    WRAPPER,
    Apply,
    Rejected,
    Resource,
    Stored,
    Update,
    decode,
)

Request: TypeAlias = DiscoveryRequest | DeltaDiscoveryRequest
Response: TypeAlias = DiscoveryResponse | DeltaDiscoveryResponse

MAX_ERROR_CHARS = 4096
"""Longest error_detail that is sent: it travels in every NACK and into the server's log."""


class Subscription(Protocol):
    """What the session needs of either variant."""

    accepted: dict[str, Stored]
    rejected: dict[str, Rejected]
    version: str

    def want(self, names: Iterable[str] | None) -> list[Request]:
        """Subscribe to exactly ``names`` (None = all, the wildcard); requests to send if the stream is up."""
        ...

    def connected(self) -> list[Request]:
        """A new stream is up: the request that restores the subscription, if there is anything to subscribe to."""
        ...

    def disconnected(self) -> None:
        """The stream is gone; everything accepted stays."""
        ...

    def receive(self, response: Response, now: float) -> bool:
        """Apply a response. True if all of it was taken."""
        ...

    def distrust(self) -> None:
        """Forget the versions of what was accepted, so that the server sends it again, or says that it is gone."""
        ...

    def answer(self) -> Request:
        """The ACK or NACK of the response received last."""
        ...


class _State:
    """What both variants keep."""

    def __init__(self, type_url: str, apply: Apply) -> None:
        self.type_url = type_url
        self.version = ""
        self.accepted: dict[str, Stored] = {}
        self.rejected: dict[str, Rejected] = {}
        self._apply = apply
        self._wanted: frozenset[str] | None = frozenset()
        self._up = False
        self._nonce = ""
        self._errors: dict[str, str] = {}

    def distrust(self) -> None:
        """See Subscription."""
        self.version = ""
        self.accepted = {name: Stored("", stored.body, stored.updated_at) for name, stored in self.accepted.items()}

    def _take(self, update: Update, now: float) -> None:
        """Hand ``update`` on and record the outcome of each resource; reasons join ``_errors``."""
        refused = self._apply(update) if update.resources or update.removed else {}
        for name in update.removed:
            self.accepted.pop(name, None)
            self.rejected.pop(name, None)
        for resource in update.resources:
            reason = refused.get(resource.name)
            if reason is None:
                self.accepted[resource.name] = Stored(resource.version, resource.body, now)
                self.rejected.pop(resource.name, None)
            else:
                self.rejected[resource.name] = Rejected(resource.version, resource.body, reason, now)
        self._errors.update(refused)

    def _keep_wanted(self) -> None:
        """Forget what is no longer wanted: a later subscription must get it again."""
        if self._wanted is not None:
            for known in (self.accepted, self.rejected):
                for name in known.keys() - self._wanted:
                    del known[name]

    def _is_wanted(self, name: str) -> bool:
        return self._wanted is None or name in self._wanted

    def _error_text(self) -> str:
        text = "\n".join(f"{name}: {reason}" for name, reason in sorted(self._errors.items()))
        return text if len(text) <= MAX_ERROR_CHARS else text[: MAX_ERROR_CHARS - 4] + " ..."


class SotwSubscription(_State):
    """State of the world: every request names everything wanted; LDS and CDS responses hold everything there is."""

    def __init__(self, type_url: str, apply: Apply) -> None:
        super().__init__(type_url, apply)
        self._asked = False

    def want(self, names: Iterable[str] | None) -> list[Request]:
        """See Subscription."""
        wanted = None if names is None else frozenset(names)
        changed = wanted != self._wanted
        self._wanted = wanted
        self._keep_wanted()
        if not self._up or not (changed or (wanted is None and not self._asked)):
            return []
        return self._first_or_next()

    def _first_or_next(self) -> list[Request]:
        # An empty list of names means everything until the first name was sent: never send it before.
        if self._wanted is not None and not self._wanted and not self._asked:
            return []
        self._asked = True
        return [self._request()]

    def _request(self) -> DiscoveryRequest:
        return DiscoveryRequest(
            type_url=self.type_url,
            version_info=self.version,
            response_nonce=self._nonce,
            resource_names=sorted(self._wanted or ()),
        )

    def connected(self) -> list[Request]:
        """See Subscription."""
        self._up = True
        self._asked = False
        self._nonce = ""
        return self._first_or_next()

    def disconnected(self) -> None:
        """See Subscription."""
        self._up = False

    def receive(self, response: Response, now: float) -> bool:
        """See Subscription."""
        if not isinstance(response, DiscoveryResponse):
            message = "a delta response on a state-of-the-world stream"
            raise TypeError(message)
        self._nonce = response.nonce
        self._errors = {}
        resources, present = self._resources(response)
        removed: tuple[str, ...] = ()
        if self.type_url in FULL_STATE:
            removed = tuple(sorted((self.accepted.keys() | self.rejected.keys()) - present))
        self._take(Update(self.type_url, response.version_info, tuple(resources), removed), now)
        if not self._errors:
            self.version = response.version_info
        return not self._errors

    def _resources(self, response: DiscoveryResponse) -> tuple[list[Resource], set[str]]:
        """Resources that are new or different, and the names of all that the response holds."""
        known = self._known_bodies()
        changed: dict[str, Resource] = {}
        present: set[str] = set()
        unreadable = False
        for index, wrapped in enumerate(response.resources):
            try:
                body = _body(wrapped, self.type_url)
                unchanged = known.get(body)
                name, message = (unchanged, None) if unchanged is not None else decode(self.type_url, body)
            except (DecodeError, ValueError) as error:
                self._errors[f"resources[{index}]"] = str(error)
                unreadable = True
                continue
            if name in present:
                self._errors[name] = f"duplicate resource {name} in one response"
                changed.pop(name, None)
            elif message is not None and self._is_wanted(name):
                changed[name] = Resource(name, response.version_info, body, message)
            present.add(name)
        if unreadable:
            # What cannot be read may be any of those that we have: none is removed on its account.
            present.update(self.accepted)
        return list(changed.values()), present

    def _known_bodies(self) -> dict[bytes, str]:
        """Names by serialised resource: what a full response repeats unchanged need not be parsed again."""
        if self.type_url not in FULL_STATE:
            return {}
        return {stored.body: name for name, stored in self.accepted.items() if name not in self.rejected}

    def answer(self) -> Request:
        """See Subscription."""
        request = self._request()
        if self._errors:
            request.error_detail.code = INVALID_ARGUMENT
            request.error_detail.message = self._error_text()
        return request


class DeltaSubscription(_State):
    """Incremental: requests carry changes of interest, responses changes of resources; each resource has its version."""

    def __init__(self, type_url: str, apply: Apply) -> None:
        super().__init__(type_url, apply)
        self._known_interest: frozenset[str] | None = frozenset()
        self._asked = False

    def want(self, names: Iterable[str] | None) -> list[Request]:
        """See Subscription."""
        self._wanted = None if names is None else frozenset(names)
        self._keep_wanted()
        return self._changes() if self._up else []

    def _changes(self) -> list[Request]:
        if not self._asked:
            return self._first()
        wanted, before = self._wanted, self._known_interest
        if wanted == before:
            return []
        self._known_interest = wanted
        after_names = frozenset(("*",)) if wanted is None else wanted
        before_names = frozenset(("*",)) if before is None else before
        return [
            DeltaDiscoveryRequest(
                type_url=self.type_url,
                resource_names_subscribe=sorted(after_names - before_names),
                resource_names_unsubscribe=sorted(before_names - after_names),
            )
        ]

    def _first(self) -> list[Request]:
        # The first request without names would mean everything.
        if self._wanted is not None and not self._wanted:
            return []
        self._asked = True
        self._known_interest = self._wanted
        request = DeltaDiscoveryRequest(type_url=self.type_url, resource_names_subscribe=sorted(self._wanted or ()))
        for name, stored in self.accepted.items():
            request.initial_resource_versions[name] = stored.version
        return [request]

    def connected(self) -> list[Request]:
        """See Subscription."""
        self._up = True
        self._asked = False
        self._nonce = ""
        # We do not say that we have what we refused, so the server sends it again if it is still there, and says nothing if not.
        self.rejected.clear()
        return self._first()

    def disconnected(self) -> None:
        """See Subscription."""
        self._up = False

    def receive(self, response: Response, now: float) -> bool:
        """See Subscription."""
        if not isinstance(response, DeltaDiscoveryResponse):
            message = "a state-of-the-world response on a delta stream"
            raise TypeError(message)
        self._nonce = response.nonce
        self._errors = {}
        resources = self._resources(response.resources)
        removed = tuple(name for name in dict.fromkeys(response.removed_resources) if self._is_wanted(name))
        self._take(Update(self.type_url, response.system_version_info, tuple(resources), removed), now)
        if not self._errors:
            self.version = response.system_version_info
        return not self._errors

    def _resources(self, received: Iterable[ResourceMessage]) -> list[Resource]:
        resources: dict[str, Resource] = {}
        seen: set[str] = set()
        for item in received:
            name = item.name
            if not item.HasField("resource"):
                continue  # a heartbeat: it renews a time to live and says nothing new
            if name in seen:
                self._errors[name] = f"duplicate resource {name} in one response"
                resources.pop(name, None)
                continue
            seen.add(name)
            try:
                resource = self._changed(item)
            except (DecodeError, ValueError) as error:
                self._errors[name] = str(error)
                continue
            if resource is not None and self._is_wanted(name):
                resources[name] = resource
        return list(resources.values())

    def _changed(self, item: ResourceMessage) -> Resource | None:
        """The resource, or None if it is the one that we have (a server may send it again). Raises ValueError."""
        name: str = item.name
        body = _body(item.resource, self.type_url)
        stored = self.accepted.get(name)
        if stored is not None and stored.body == body and name not in self.rejected:
            self.accepted[name] = Stored(item.version, body, stored.updated_at)
            return None
        own_name, message = decode(self.type_url, body)
        if own_name != name:
            reason = f"the resource calls itself {own_name!r}"
            raise ValueError(reason)
        return Resource(name, item.version, body, message)

    def answer(self) -> Request:
        """See Subscription."""
        request = DeltaDiscoveryRequest(type_url=self.type_url, response_nonce=self._nonce)
        if self._errors:
            request.error_detail.code = INVALID_ARGUMENT
            request.error_detail.message = self._error_text()
        return request


def _body(wrapped: Any, type_url: str) -> bytes:
    """The serialised resource inside ``wrapped``, also from within a discovery Resource (TTL). Raises ValueError."""
    if wrapped.type_url == WRAPPER:
        wrapped = ResourceMessage.FromString(wrapped.value).resource
    if wrapped.type_url != type_url:
        message = f"type {wrapped.type_url or '(none)'} in a response of {type_url}"
        raise ValueError(message)
    return wrapped.value


VARIANTS: Mapping[str, Callable[[str, Apply], Subscription]] = {"sotw": SotwSubscription, "delta": DeltaSubscription}
"""Constructors by the name of the protocol variant."""
