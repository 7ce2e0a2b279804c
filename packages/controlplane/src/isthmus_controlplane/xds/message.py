"""Requests and responses as plain values, apart from their wire form."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from isthmus_controlplane.snapshot.resource import Resource


class Variant(enum.Enum):
    """State of the world or incremental: which of the two request and response pairs a stream speaks."""

    SOTW = "sotw"
    DELTA = "delta"


@dataclasses.dataclass(frozen=True, slots=True)
class SotwRequest:
    """One ``envoy.service.discovery.v3.DiscoveryRequest``.

    Attributes:
        type_url: resource type; empty on per-type services.
        names: the complete list of subscribed names.
        nonce: of the response that this acknowledges or rejects; empty on a first request.
        error: text of ``error_detail`` (a rejection), None for an acknowledgement or a first request.
    """

    type_url: str
    names: tuple[str, ...] = ()
    nonce: str = ""
    error: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DeltaRequest:
    """One ``envoy.service.discovery.v3.DeltaDiscoveryRequest``.

    Attributes:
        type_url: resource type; empty on per-type services.
        subscribe: names to add; each is answered, also when it was sent before.
        unsubscribe: names to drop.
        nonce: of the response that this acknowledges or rejects; empty on a spontaneous request.
        error: text of ``error_detail`` (a rejection), None otherwise.
        initial_versions: what a reconnecting client still holds; read on the first request of a type only.
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    nonce: str = ""
    error: str | None = None
    initial_versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


Request = SotwRequest | DeltaRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """One response, still in terms of shared resources.

    Attributes:
        type_url: resource type.
        version: ``version_info`` or ``system_version_info``.
        nonce: unique on its stream.
        resources: to add or change; on SotW listeners and clusters, all there are.
        removed: names for ``removed_resources``; always empty on SotW.
        heartbeat: the resources did not change: only their time to live begins anew.
        wrapped: on SotW, resources with a time to live go inside ``envoy.service.discovery.v3.Resource``.
    """

    type_url: str
    version: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()
    heartbeat: bool = False
    wrapped: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Nack:
    """A rejected response.

    Attributes:
        version: version that was rejected.
        message: the client's ``error_detail`` message, cut to a bound.
        resources: names of the rejected response's resources that the message mentions, sorted; where it mentions none,
            all that the response changed, if they are few.
    """

    version: str
    message: str
    resources: tuple[str, ...]
