"""What to do about the entries of one interface: (wanted, seen) -> transactions. Pure.

The rules:

- An entry without our cluster's marks is never touched. A wanted address at which somebody else has an entry that is closer to the origin
  (without marks, or with a shorter path, or a smaller one of the same length) is not written, and taken back.
- Of the entries of one instance that our cluster wrote, those with the greatest epoch count. Who holds a smaller one stands back.
- A new entry is written before, or together with, the removal of those that it replaces, so no consumer sees a moment without either.
- The same address in another form is replaced at once, one that is down as well; another address stays for the overlap.
- The overlap is counted from when another address came first, so that one which the policy lets drain does not drain a second time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from isthmus_mcp_bridge.backsync.entry import SeenEntry, Wanted
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.registration.model import InstanceKey


@dataclasses.dataclass(frozen=True, slots=True)
class Transaction:
    """Create and delete names, all or nothing. A name in both is that of a dead session, which is created anew."""

    key: InstanceKey
    create: str = ""
    delete: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """``retiring``: entries that are to be withdrawn, and since when; ``draining``: those that are still wanted, but behind another
    address, and since when; ``outdone``: instances of which a greater epoch stands."""

    transactions: tuple[Transaction, ...] = ()
    retiring: Mapping[str, float] = dataclasses.field(default_factory=dict)
    draining: Mapping[str, float] = dataclasses.field(default_factory=dict)
    outdone: Mapping[InstanceKey, int] = dataclasses.field(default_factory=dict)
    blocked: tuple[tuple[InstanceKey, Address], ...] = ()
    """Addresses that somebody else has registered."""


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """Who plans: the cluster, how long a changed address stays (seconds), and what time it is."""

    cluster: str
    overlap_s: float
    now: float


def plan(
    wanted: Mapping[InstanceKey, Wanted],
    seen: Iterable[SeenEntry],
    mine: Collection[str],
    retiring: Mapping[str, float],
    terms: Terms,
) -> Plan:
    """See the module. ``mine`` are the names that belong to our own session; ``retiring`` says since when others come before an entry."""
    own: dict[InstanceKey, list[SeenEntry]] = {}
    others: dict[tuple[object, Address], list[SeenEntry]] = {}
    for entry in seen:
        if entry.key is not None and entry.owned_by(terms.cluster):
            own.setdefault(entry.key, []).append(entry)
        else:
            others.setdefault((entry.key.service if entry.key else entry.service, entry.address), []).append(entry)
    found = [
        _Instance(key, wanted.get(key), own.get(key, []), others, mine, retiring, terms).plan()
        for key in sorted(wanted.keys() | own.keys())
    ]
    return Plan(
        tuple(one for part in found for one in part.transactions),
        {name: since for part in found for name, since in part.retiring.items()},
        {name: since for part in found for name, since in part.draining.items()},
        {key: epoch for part in found for key, epoch in part.outdone.items()},
        tuple(one for part in found for one in part.blocked),
    )


class _Instance:
    """Plans one instance."""

    def __init__(
        self,
        key: InstanceKey,
        wanted: Wanted | None,
        own: list[SeenEntry],
        others: Mapping[tuple[object, Address], list[SeenEntry]],
        mine: Collection[str],
        retiring: Mapping[str, float],
        terms: Terms,
    ) -> None:
        self._key = key
        self._wanted = wanted
        self._own = own
        self._others = others
        self._mine = mine
        self._before = retiring
        self._terms = terms

    def plan(self) -> Plan:
        wanted = self._wanted
        newest = max((_epoch(entry) for entry in self._own), default=0)
        if wanted is None:
            return self._withdraw()
        if newest > wanted.epoch:
            return dataclasses.replace(self._withdraw(), outdone={self._key: newest})
        return self._write(wanted)

    def _withdraw(self) -> Plan:
        """Take back what is ours: at once if nothing else stands for the instance, after the overlap if it has moved."""
        ours = [entry for entry in self._own if entry.name in self._mine]
        kept = {entry.address for entry in self._own if entry.name not in self._mine and _epoch(entry) >= _newest(ours)}
        moved = bool(kept)
        leaving = [entry.name for entry in ours if not moved or entry.address in kept]
        rest = [entry for entry in ours if moved and entry.address not in kept]
        due, retiring = self._retire(rest)
        names = (*leaving, *due)
        return Plan((Transaction(self._key, delete=tuple(sorted(names))),) if names else (), retiring)

    def _write(self, wanted: Wanted) -> Plan:
        transactions: list[Transaction] = []
        blocked: list[tuple[InstanceKey, Address]] = []
        shown: set[Address] = set()
        names = {entry.name for entry in self._own}
        dead = [one.name for one in self._own if one.address in wanted.down and one.address not in self._shown(wanted)]
        for entry in wanted.entries:
            same = [one for one in self._own if one.address == entry.address]
            if self._has_other(wanted, entry.address):
                blocked.append((self._key, entry.address))
                gone = tuple(sorted(one.name for one in same))
                if gone:
                    transactions.append(Transaction(self._key, delete=gone))
                shown.add(entry.address)
                continue
            shown.add(entry.address)
            stale = tuple(sorted(one.name for one in same if one.name != entry.name))
            if entry.name not in names:
                transactions.append(Transaction(self._key, entry.name, tuple(sorted((*stale, *dead)))))
                dead = []
            elif entry.name not in self._mine:
                transactions.append(Transaction(self._key, entry.name, tuple(sorted((*stale, entry.name)))))
            elif stale:
                transactions.append(Transaction(self._key, delete=stale))
        rest = [one for one in self._own if one.address not in shown and one.address not in wanted.down]
        if shown:
            due, retiring = self._retire(rest)
        else:
            due, retiring = [one.name for one in rest], {}
        due += dead
        if due:
            transactions.append(Transaction(self._key, delete=tuple(sorted(due))))
        return Plan(tuple(transactions), retiring, self._draining(wanted), blocked=tuple(blocked))

    def _shown(self, wanted: Wanted) -> set[Address]:
        return {entry.address for entry in wanted.entries}

    def _draining(self, wanted: Wanted) -> dict[str, float]:
        """Since when each entry that is wanted stands behind another one, whatever form it had."""
        found = {}
        for entry in wanted.entries[1:]:
            names = {entry.name, *(one.name for one in self._own if one.address == entry.address)}
            found[entry.name] = min(
                (self._before[name] for name in names & self._before.keys()), default=self._terms.now
            )
        return found

    def _retire(self, entries: Iterable[SeenEntry]) -> tuple[list[str], dict[str, float]]:
        """The entries whose overlap is over, and those that still stay, with when they began to."""
        due, staying = [], {}
        for entry in entries:
            since = self._before.get(entry.name, self._terms.now)
            if self._terms.now - since >= self._terms.overlap_s:
                due.append(entry.name)
            else:
                staying[entry.name] = since
        return due, staying

    def _has_other(self, wanted: Wanted, address: Address) -> bool:
        """Whether somebody closer to the origin has the address registered."""
        found = self._others.get((self._key.service, address), ())
        rank = (len(wanted.path), wanted.path)
        return any(one.marks is None or (len(one.marks.path), one.marks.path) < rank for one in found)


def _epoch(entry: SeenEntry) -> int:
    return entry.marks.epoch if entry.marks is not None else 0


def _newest(entries: Iterable[SeenEntry]) -> int:
    return max(map(_epoch, entries), default=0)
