"""What one writer wants to stand in its registry, and what it knows to be its own there. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from isthmus_mcp_bridge.backsync.entry import SeenEntry, Wanted
from isthmus_mcp_bridge.backsync.plan import Plan, Terms, Transaction, plan
from isthmus_mcp_bridge.backsync.store import Owner
from isthmus_mcp_bridge.registration.model import InstanceKey


class Ledger:
    """See the module; a folder is where the entries of one interface stand."""

    def __init__(self, cluster: str, overlap_s: float) -> None:
        self.cluster = cluster
        self.overlap_s = overlap_s
        self.wanted: dict[str, dict[InstanceKey, Wanted]] = {}
        self.pending: dict[str, Plan] = {}
        """Plans that are not carried out yet, by folder."""
        self._mine: dict[str, set[str]] = {}
        self._attempted: dict[str, set[str]] = {}
        """Names of which a creation was begun in this session; its outcome may be unknown."""
        self._retiring: dict[str, dict[str, float]] = {}
        self._draining: dict[str, dict[str, float]] = {}

    def want(self, folder: str, key: InstanceKey, wanted: Wanted | None) -> bool:
        """The instance shall have these entries; None: it is no affair of ours any more. Whether that is news."""
        known = self.wanted.setdefault(folder, {})
        if known.get(key) == wanted:
            return False
        if wanted is None:
            del known[key]
        else:
            known[key] = wanted
        return True

    @property
    def folders(self) -> set[str]:
        """The folders that matter."""
        busy = {folder for folder, one in self.wanted.items() if one}
        return busy | {folder for folder, names in (*self._mine.items(), *self._attempted.items()) if names}

    @property
    def held(self) -> int:
        """How many names belong to our session."""
        return sum(map(len, self._mine.values()))

    def mine(self, folder: str) -> Collection[str]:
        """The names in the folder that belong to our session."""
        return self._mine.get(folder, set())

    def doubtful(self, folder: str, seen: Iterable[SeenEntry]) -> list[str]:
        """Entries that may be ours: whose owner has to be asked before a plan is made."""
        attempted = self._attempted.get(folder, set())
        return [one.name for one in seen if one.name in attempted and one.name not in self.mine(folder)]

    def answered(self, folder: str, asked: Iterable[str], owners: Mapping[str, Owner]) -> None:
        """Who owns the doubtful entries."""
        for name in asked:
            if name in owners and owners[name].mine:
                self._mine.setdefault(folder, set()).add(name)
            self._attempted.get(folder, set()).discard(name)

    def plan(self, folder: str, seen: Collection[SeenEntry], now: float) -> Plan:
        """What is to be done about the folder, given what stands there."""
        names = {one.name for one in seen}
        self._mine[folder] = {name for name in self.mine(folder) if name in names}
        terms = Terms(self.cluster, self.overlap_s, now)
        before = {**self._draining.get(folder, {}), **self._retiring.get(folder, {})}
        found = plan(self.wanted.get(folder, {}), seen, self.mine(folder), before, terms)
        self._retiring[folder] = dict(found.retiring)
        self._draining[folder] = dict(found.draining)
        self.pending[folder] = found
        for table in (self._mine, self._attempted, self._retiring, self._draining, self.wanted):
            if not table.get(folder, True):
                del table[folder]
        if not found.transactions and not found.blocked:
            del self.pending[folder]
        return found

    def attempt(self, folder: str, transaction: Transaction) -> None:
        """The transaction is about to be committed."""
        if transaction.create:
            self._attempted.setdefault(folder, set()).add(transaction.create)

    def committed(self, folder: str, transaction: Transaction) -> None:
        """The transaction is done."""
        mine = self._mine.setdefault(folder, set())
        mine.difference_update(transaction.delete)
        if transaction.create:
            mine.add(transaction.create)
            self._attempted.get(folder, set()).discard(transaction.create)

    def session_lost(self) -> None:
        """Nothing that stands in the registry is ours any more."""
        self._mine.clear()
        self._attempted.clear()

    def next_due(self) -> tuple[float, str] | None:
        """When the next overlap ends, and in which folder."""
        times = [(since, folder) for folder, names in self._retiring.items() for since in names.values()]
        if not times:
            return None
        since, folder = min(times)
        return since + self.overlap_s, folder
