"""What a registry adapter reports: the state of its source, and what each origin in the registry claims.

An *origin* is the unit in which a registry is read at once: a file of a directory, an interface of ZooKeeper. What an
origin reports replaces everything it reported before, so an adapter never computes differences.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from isthmus_mcp_bridge.model import ServiceClaim


class SourceState(enum.StrEnum):
    """How far a source can be believed. Only a LIVE source may delete."""

    SYNCING = "SYNCING"
    """Never listed completely yet; what it reports is added, what it lacks means nothing."""
    LIVE = "LIVE"
    """Listed completely and watched since."""
    SUSPECT = "SUSPECT"
    """Was LIVE, but the connection is gone or answers make no sense; claims are kept until the next full listing."""
    STALE = "STALE"
    """SUSPECT for long: claims are kept, but where a LIVE source says otherwise, that counts."""
    EXPIRED = "EXPIRED"
    """STALE for longer than anybody wants to believe it: its claims count for nothing until the next full listing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """An entry that could not be used: which registry, where in it, what stands there, and what to do about it."""

    registry: str
    path: str
    value: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class OriginReport:
    """All that one origin holds: its claims (at most one a service) and its unusable entries.

    ``unreadable`` says that the origin exists but could not be read: its last good claims stay, and where there are
    none, the start-up barrier waits for it (until the source's sync deadline).
    """

    claims: tuple[ServiceClaim, ...] = ()
    problems: tuple[Problem, ...] = ()
    unreadable: bool = False
    revision: str = ""
    """Where the registry stood when this was read (a zxid, an index, a hash); to explain, never published."""


@dataclasses.dataclass(frozen=True, slots=True)
class SourceSuspected:
    """The source cannot be believed for the time being (disconnected, session lost); a source still SYNCING stays so."""

    source: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class OriginChanged:
    """One origin was read again; an empty report means that the origin is gone or holds nothing."""

    source: str
    origin: str
    report: OriginReport


@dataclasses.dataclass(frozen=True, slots=True)
class SourceListed:
    """The whole registry was read: the source is LIVE, and an origin that is not in the listing is gone.

    ``audit`` says that the adapter believed to know all this already (anti-entropy): what differs is a drift. ``revision`` is
    where the registry stood.
    """

    source: str
    origins: Mapping[str, OriginReport]
    audit: bool = False
    revision: str = ""


RegistryEvent = SourceSuspected | OriginChanged | SourceListed
