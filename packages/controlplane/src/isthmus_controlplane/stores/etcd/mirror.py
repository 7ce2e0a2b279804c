"""What a control plane knows of one etcd prefix: lists and watch responses in, store states out. No I/O.

One watch response is one revision range and is applied whole: objects that were written in one transaction become visible
together (etcd's watch guarantee of atomicity).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from types import MappingProxyType

from isthmus_controlplane.model.document import DocumentError, parse_document
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, StoreState
from isthmus_controlplane.stores.yaml_text import YamlError, load_documents


@dataclasses.dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as etcd has it; ``value`` None means that it was deleted at ``revision``."""

    key: str
    value: bytes | None
    revision: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    revision: int
    object: ConfigObject | None  # the last good one
    problems: tuple[Problem, ...] = ()


class Mirror:
    """The objects below a prefix, as of ``revision``."""

    def __init__(self, source: str, prefix: str) -> None:
        """``source`` names the store in states; ``prefix`` ends with a slash."""
        self.revision = 0
        self.synced = False
        self.drifts = 0  # differences that a list found and the watch had not told
        self._source = source
        self._prefix = prefix
        self._entries: dict[str, _Entry] = {}
        self._lost: tuple[Problem, ...] = ()

    def key_of(self, key: ObjectKey) -> str:
        """The etcd key of an object: ``PREFIX/KIND/NAMESPACE/NAME``."""
        return f"{self._prefix}{key.kind}/{key.namespace}/{key.name}"

    def revision_of(self, key: ObjectKey) -> int:
        """The revision at which an object was last written, 0 when it is not there: what a transaction compares."""
        entry = self._entries.get(self.key_of(key))
        return entry.revision if entry else 0

    def take_list(self, listed: Iterable[KeyValue], revision: int) -> None:
        """Replace everything by a full list; what is not listed is gone. Counts differences once the mirror was synced."""
        found = {item.key: item for item in listed}
        missed = [item for item in found.values() if self._is_news(item)]
        gone = [key for key in self._entries if key not in found]
        if self.synced:
            self.drifts += len(missed) + len(gone)
        for key in gone:
            del self._entries[key]
        for item in missed:
            self._take(item)
        self.synced = True
        self.revision = max(self.revision, revision)

    def take_events(self, events: Iterable[KeyValue], revision: int) -> None:
        """Apply one watch response. Events that are older than what is known change nothing."""
        for event in events:
            if event.value is None:
                entry = self._entries.get(event.key)
                if entry is not None and entry.revision < event.revision:
                    del self._entries[event.key]
            elif self._is_news(event):
                self._take(event)
        self.revision = max(self.revision, revision)

    def connected(self) -> None:
        """The source answers again."""
        self._lost = ()

    def disconnected(self, why: str) -> None:
        """The source does not answer; what is known stays."""
        text = f"does not answer: {why}; the last configuration stays in use; check that etcd runs and can be reached"
        self._lost = (Problem(self._source, "", text),)

    def state(self) -> StoreState:
        """Everything known, as a store state; objects that did not change are the same objects as before."""
        entries = [entry for _, entry in sorted(self._entries.items())]
        objects = {entry.object.key: entry.object for entry in entries if entry.object is not None}
        problems = sorted([*self._lost, *(problem for entry in entries for problem in entry.problems)])
        return StoreState(self._source, self.synced, MappingProxyType(objects), tuple(problems))

    def _is_news(self, item: KeyValue) -> bool:
        entry = self._entries.get(item.key)
        return entry is None or entry.revision < item.revision

    def _take(self, item: KeyValue) -> None:
        """A value that cannot be used keeps the last good one and is reported."""
        before = self._entries.get(item.key)
        kept = before.object if before else None
        try:
            parsed = self._parse(item)
        except DocumentError as error:
            self._entries[item.key] = _Entry(item.revision, kept, error.problems)
            return
        same = kept is not None and kept == parsed
        self._entries[item.key] = _Entry(item.revision, kept if same else parsed)

    def _parse(self, item: KeyValue) -> ConfigObject:
        origin = f"{self._source} {item.key}"
        parsed = parse_document(load(item.value or b"", origin), origin)
        if self.key_of(parsed.key) != item.key:
            text = f"holds {parsed.key}, whose key is {self.key_of(parsed.key)}; write it there"
            raise DocumentError((Problem(origin, "metadata", text),))
        return parsed


def load(value: bytes, origin: str) -> object:
    """Read the YAML or JSON of one key.

    Raises:
        DocumentError: it is neither, or more than one document.
    """
    try:
        documents = load_documents(value.decode())
    except (UnicodeDecodeError, YamlError) as error:
        text = f"is not YAML: {' '.join(str(error).split())}; write one object as YAML or JSON"
        raise DocumentError((Problem(origin, "", text),)) from error
    if len(documents) != 1:
        raise DocumentError((Problem(origin, "", f"holds {len(documents)} documents; write one object to each key"),))
    return documents[0].value
