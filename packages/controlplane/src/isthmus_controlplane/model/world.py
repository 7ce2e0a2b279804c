"""All stores together: one set of objects, checked, admitted, with what has changed and what is wrong. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from isthmus_controlplane.model.admission import NOTHING_ADMITTED, Admission, Objects, admit
from isthmus_controlplane.model.document import object_problems
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, StoreState

Change = Literal["none", "endpoints", "configuration"]
_MAX_NAMED = 3


@dataclasses.dataclass(frozen=True, slots=True)
class _Checked:
    """The check of one object as it was submitted: its problems, and the form to use (None: none was ever good)."""

    submitted: ConfigObject
    problems: tuple[Problem, ...]
    usable: ConfigObject | None


class World:
    """The current objects of all stores and which of them are in use."""

    def __init__(self, sources: Sequence[str], mesh: MeshSettings) -> None:
        """Start empty.

        Args:
            sources: the stores in order of precedence: an object that two of them have is taken from the first.
            mesh: settings of the whole mesh.
        """
        self._mesh = mesh
        self._states = {source: StoreState(source, synced=False, objects={}) for source in sources}
        self._checked: dict[ObjectKey, _Checked] = {}
        self._merged: Objects = {}
        self._merge_problems: tuple[Problem, ...] = ()
        self.admission: Admission = NOTHING_ADMITTED

    @property
    def states(self) -> tuple[StoreState, ...]:
        """The newest state of each store."""
        return tuple(self._states.values())

    @property
    def synced(self) -> bool:
        """Whether every store was read whole at least once."""
        return all(state.synced for state in self._states.values())

    @property
    def objects(self) -> Objects:
        """The submitted objects of all stores that are good on their own."""
        return self._merged

    def problems(self) -> tuple[Problem, ...]:
        """Everything that a user has to mend, sorted."""
        refused = (problem for state in self._states.values() for problem in state.problems)
        checked = (problem for checked in self._checked.values() for problem in checked.problems)
        return tuple(sorted({*refused, *checked, *self._merge_problems, *self.admission.problems}))

    def take(self, state: StoreState) -> tuple[Change, str]:
        """Take the new state of a store; says what kind of change it was, and names what changed."""
        self._states[state.source] = state
        before = self._merged
        self._merge()
        changed = [key for key in {*before, *self._merged} if before.get(key) is not self._merged.get(key)]
        if not changed:
            return "none", ""
        only_endpoints = all(_same_but_endpoints(before.get(key), self._merged.get(key)) for key in changed)
        return ("endpoints" if only_endpoints else "configuration"), _names(changed)

    def _merge(self) -> None:
        submitted: dict[ObjectKey, ConfigObject] = {}
        problems: list[Problem] = []
        for state in self._states.values():
            for key, obj in state.objects.items():
                first = submitted.setdefault(key, obj)
                if first is not obj:
                    message = f"{key} is already defined in {first.origin}, which stays in use: remove or rename one"
                    problems.append(Problem(obj.origin, "metadata.name", message))
        self._checked = {key: self._check(obj) for key, obj in submitted.items()}
        usable = {key: checked.usable for key, checked in self._checked.items()}
        self._merged = {key: obj for key, obj in usable.items() if obj is not None}
        self._merge_problems = tuple(problems)

    def _check(self, obj: ConfigObject) -> _Checked:
        """Check an object on its own; while it is bad, the last good form stays."""
        last = self._checked.get(obj.key)
        if last is not None and last.submitted is obj:
            return last
        problems = object_problems(obj)
        if not problems:
            return _Checked(obj, (), obj)
        return _Checked(obj, problems, last.usable if last is not None else None)

    def admit(self) -> Admission:
        """Decide anew which objects are in use."""
        self.admission = admit(self._merged, self.admission, self._mesh)
        return self.admission

    def preview(self, applied: Iterable[ConfigObject], deleted: Iterable[ObjectKey] = ()) -> tuple[Problem, ...]:
        """Say what would not come into use, or would break, if these objects were written or deleted; () when all is well."""
        current = admit(self._merged, self.admission, self._mesh)
        gone = frozenset(deleted)
        new = {obj.key: obj for obj in applied}
        world = {**{key: obj for key, obj in self._merged.items() if key not in gone}, **new}
        then = admit(world, current, self._mesh)
        blocked = (then.held - current.held) | (then.held & new.keys())
        marks = tuple(f"({key})" for key in blocked)
        return tuple(problem for problem in then.problems if problem.origin.endswith(marks)) if blocked else ()

    def warnings(self, applied: Mapping[ObjectKey, ConfigObject]) -> tuple[Problem, ...]:
        """Problems of objects in use, after they were applied."""
        marks = tuple(f"({key})" for key in applied)
        return tuple(problem for problem in self.admission.problems if marks and problem.origin.endswith(marks))


def _same_but_endpoints(old: ConfigObject | None, new: ConfigObject | None) -> bool:
    """Whether only instances changed, so that the change need not wait for others to join it."""
    present: Any = new or old
    if present.key.kind == "WorkloadEntry":
        return True
    if old is None or new is None or present.key.kind != "ServiceEntry" or old.labels != new.labels:
        return False
    return bool(_without_endpoints(old.spec) == _without_endpoints(new.spec))


def _without_endpoints(spec: Any) -> Any:
    rest = type(spec)()
    rest.CopyFrom(spec)
    del rest.endpoints[:]
    return rest


def _names(keys: Iterable[ObjectKey]) -> str:
    ordered = sorted(keys)
    more = len(ordered) - _MAX_NAMED
    shown = ", ".join(map(str, ordered[:_MAX_NAMED]))
    return f"{shown} and {more} more" if more > 0 else shown
