"""Descriptors: what the actions of a rate limit read of a request (config.route.v3.RateLimit). Pure.

Each action answers its entry, none where it is to be left out (``skip_if_absent``), or None: then its limit does not apply.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.matcher import FieldsTest, StringTest, reader
from isthmus_proxy.route.metadata_match import value_at

Entry = tuple[str, bytes]
"""Key and value of RateLimitDescriptor.Entry."""
Entries = tuple[Entry, ...]
Descriptor = Entries

_LEFT_OUT: Entries = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """One request as actions see it. ``remote`` is the client's address without its port, empty if it has none."""

    head: RequestHead
    service_cluster: str = ""
    cluster: str = ""
    remote: str = ""
    dynamic_metadata: Mapping[str, Any] | None = None
    route_metadata: Mapping[str, Any] | None = None


class Action(Protocol):
    """RateLimit.Action."""

    def entries(self, facts: Facts) -> Entries | None:
        """See the module."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """config.route.v3.RateLimit. ``disable_key`` is the middle of the run-time key that switches it off."""

    actions: tuple[Action, ...]
    stage: int = 0
    disable_key: str = ""

    def descriptor(self, facts: Facts) -> Descriptor | None:
        """The entries of all actions, None where one of them does not apply."""
        found: list[Entry] = []
        for action in self.actions:
            entries = action.entries(facts)
            if entries is None:
                return None
            found += entries
        return tuple(found)


@dataclass(frozen=True, slots=True)
class SourceCluster:
    """The cluster of the proxy's own node."""

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        return (("source_cluster", facts.service_cluster.encode()),)


@dataclass(frozen=True, slots=True)
class DestinationCluster:
    """The cluster to which the request is routed."""

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        return (("destination_cluster", facts.cluster.encode()),)


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """The first value of a header, or of a pseudo-header."""

    name: bytes
    key: str
    skip_if_absent: bool = False

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        values = reader(self.name)(facts.head)
        if not values:
            return _LEFT_OUT if self.skip_if_absent else None
        return ((self.key, values[0]),)


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """The first value of a query parameter, percent-decoded."""

    name: bytes
    key: str
    skip_if_absent: bool = False

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        value = decoded_query(facts.head.path).get(self.name)
        if value is None:
            return _LEFT_OUT if self.skip_if_absent else None
        return ((self.key, value),)


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The client's address; trusted proxies tell it."""

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        return (("remote_address", facts.remote.encode()),) if facts.remote else None


@dataclass(frozen=True, slots=True)
class MaskedRemoteAddress:
    """The network of the client's address, of so many bits."""

    v4_bits: int = 32
    v6_bits: int = 128

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        if not facts.remote:
            return None
        bits = self.v6_bits if ":" in facts.remote else self.v4_bits
        network = ipaddress.ip_network(f"{facts.remote.partition('%')[0]}/{bits}", strict=False)
        return (("masked_remote_address", str(network).encode()),)


@dataclass(frozen=True, slots=True)
class GenericKey:
    """A constant."""

    value: bytes
    key: str = "generic_key"

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        return ((self.key, self.value),)


@dataclass(frozen=True, slots=True)
class HeaderValueMatch:
    """A constant for requests whose headers all match, or, with ``expect`` False, for those whose do not."""

    value: bytes
    tests: tuple[FieldsTest, ...]
    key: str = "header_match"
    expect: bool = True

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        return ((self.key, self.value),) if all(test(facts.head) for test in self.tests) == self.expect else None


@dataclass(frozen=True, slots=True)
class QueryTest:
    """QueryParameterMatcher on a decoded query; ``test`` None asks for presence, or with ``present`` False for absence."""

    name: bytes
    test: StringTest | None = None
    present: bool = True

    def holds(self, query: Mapping[bytes, bytes]) -> bool:
        """Whether ``query`` is as wanted."""
        value = query.get(self.name)
        if self.test is None:
            return (value is not None) == self.present
        return value is not None and self.test(value)


@dataclass(frozen=True, slots=True)
class QueryParameterValueMatch:
    """A constant for requests whose query parameters all match, or, with ``expect`` False, for those whose do not."""

    value: bytes
    tests: tuple[QueryTest, ...]
    key: str = "query_match"
    expect: bool = True

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        query = decoded_query(facts.head.path)
        return ((self.key, self.value),) if all(test.holds(query) for test in self.tests) == self.expect else None


@dataclass(frozen=True, slots=True)
class MetadataValue:
    """A string of dynamic metadata, or of the route's; ``default`` stands in where there is none, or an empty one."""

    key: str
    namespace: str
    path: tuple[str, ...]
    default: bytes = b""
    of_route: bool = False
    skip_if_absent: bool = False

    def entries(self, facts: Facts) -> Entries | None:
        """See ``Action``."""
        metadata = facts.route_metadata if self.of_route else facts.dynamic_metadata
        found = value_at(metadata or {}, (self.namespace, *self.path))
        value = (found.encode() if isinstance(found, str) else b"") or self.default
        if not value:
            return _LEFT_OUT if self.skip_if_absent else None
        return ((self.key, value),)


def decoded_query(path: bytes) -> dict[bytes, bytes]:
    """The first value of each parameter of ``path``, names and values percent-decoded; a plus sign stays one."""
    query = path.partition(b"?")[2].partition(b"#")[0]
    found: dict[bytes, bytes] = {}
    for parameter in query.split(b"&") if query else ():
        name, _, value = parameter.partition(b"=")
        found.setdefault(unquote_to_bytes(name), unquote_to_bytes(value))
    return found
