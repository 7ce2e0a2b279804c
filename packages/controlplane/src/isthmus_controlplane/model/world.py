"""All stores together: one set of objects, checked, admitted, with what has changed and what is wrong. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from isthmus_controlplane.model.admission import NOTHING_ADMITTED, Admission, Objects, admit
from isthmus_controlplane.model.document import object_problems
from isthmus_controlplane.model.instances import admit_instances
from isthmus_controlplane.model.loss_guard import LossGuard
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


@dataclasses.dataclass(frozen=True, slots=True)
class Foreseen:
    """What a change would lead to: why it would not come into use or break something, and what else to know about it."""

    refusals: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


class World:
    """The current objects of all stores and which of them are in use."""

    def __init__(self, sources: Sequence[str], mesh: MeshSettings, guard: LossGuard | None = None) -> None:
        """Start empty.

        Args:
            sources: the stores in order of precedence: an object that two of them have is taken from the first.
            mesh: settings of the whole mesh.
            guard: doubts sudden losses of instances; None believes them all.
        """
        self.guard = guard if guard is not None else LossGuard(0.0, lambda: 0.0)
        self._mesh = mesh
        self._states = {source: StoreState(source, synced=False, objects={}) for source in sources}
        self._checked: dict[ObjectKey, _Checked] = {}
        self._merged: dict[ObjectKey, ConfigObject] = {}
        self._merge_problems: dict[ObjectKey, tuple[Problem, ...]] = {}
        # Instances that changed since the last admission; None when more than instances did.
        self._instances: set[ObjectKey] | None = None
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
        merged = (problem for problems in self._merge_problems.values() for problem in problems)
        kept = self.guard.problems(self._merged)
        return tuple(sorted({*refused, *checked, *merged, *kept, *self.admission.problems}))

    def take(self, state: StoreState) -> tuple[Change, str]:
        """Take the new state of a store; says what kind of change it was, and names what changed."""
        last = self._states[state.source]
        self._states[state.source] = state
        return self._note(_differing(last.objects, state.objects))

    def believe_losses(self) -> tuple[Change, str]:
        """Let go of the instances that were kept long enough; says what changed, as `take` does."""
        return self._note(self.guard.due())

    def _note(self, keys: Iterable[ObjectKey]) -> tuple[Change, str]:
        before = self._merged
        changed = self._merge(keys)
        if not changed:
            return "none", ""
        only_endpoints = all(_same_but_endpoints(before.get(key), self._merged.get(key)) for key in changed)
        if not only_endpoints:
            self._instances = None
        elif self._instances is not None:
            self._instances.update(changed)
        return ("endpoints" if only_endpoints else "configuration"), _names(changed)

    def _merge(self, keys: Iterable[ObjectKey]) -> list[ObjectKey]:
        """Look again at the objects of some keys; returns those that differ. What was handed out before stays as it was."""
        found = self.guard.check(self._merged, {key: self._merge_one(key) for key in keys})
        differing = [key for key, usable in found.items() if usable is not self._merged.get(key)]
        if differing:
            self._merged = dict(self._merged)
        for key in differing:
            usable = found[key]
            if usable is None:
                del self._merged[key]
            else:
                self._merged[key] = usable
        return differing

    def _merge_one(self, key: ObjectKey) -> ConfigObject | None:
        """Take the object of one key from the first store that has it, and return the form of it to use."""
        found = [state.objects[key] for state in self._states.values() if key in state.objects]
        problems = tuple(
            Problem(
                other.origin,
                "metadata.name",
                f"{key} is already defined in {found[0].origin}, which stays in use: remove or rename one",
            )
            for other in found[1:]
        )
        if problems:
            self._merge_problems[key] = problems
        else:
            self._merge_problems.pop(key, None)
        if not found:
            self._checked.pop(key, None)
            return None
        self._checked[key] = self._check(found[0])
        return self._checked[key].usable

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
        """Decide anew which objects are in use; where only instances changed, of nothing but what they are part of."""
        patched = (
            admit_instances(self._merged, self.admission, self._instances) if self._instances is not None else None
        )
        self.admission = patched or admit(self._merged, self.admission, self._mesh)
        self._instances = set()
        return self.admission

    def preview(self, applied: Iterable[ConfigObject], deleted: Iterable[ObjectKey] = ()) -> tuple[Problem, ...]:
        """Say what would not come into use, or would break, if these objects were written or deleted; () when all is well."""
        return self.foresee(applied, deleted).refusals

    def foresee(self, applied: Iterable[ConfigObject], deleted: Iterable[ObjectKey] = ()) -> Foreseen:
        """Say what would become of these objects if they were written or deleted."""
        current = admit(self._merged, self.admission, self._mesh)
        gone = frozenset(deleted)
        new = {obj.key: obj for obj in applied}
        world = {**{key: obj for key, obj in self._merged.items() if key not in gone}, **new}
        then = admit(world, current, self._mesh)
        blocked = (then.held - current.held) | (then.held & new.keys())
        refusals = _problems_of(then, blocked)
        return Foreseen(refusals, tuple(each for each in _problems_of(then, new) if each not in refusals))


def _problems_of(admission: Admission, keys: Iterable[ObjectKey]) -> tuple[Problem, ...]:
    marks = tuple(f"({key})" for key in keys)
    return tuple(problem for problem in admission.problems if problem.origin.endswith(marks)) if marks else ()


def _differing(old: Objects, new: Objects) -> list[ObjectKey]:
    """Return the keys of objects that are not the same in both."""
    gone = [key for key in old if key not in new] if len(old) != len(new) or old.keys() != new.keys() else []
    return gone + [key for key, obj in new.items() if old.get(key) is not obj]


def _same_but_endpoints(old: ConfigObject | None, new: ConfigObject | None) -> bool:
    """Whether only instances changed, so that the change need not wait for others to join it."""
    present: Any = new or old
    if present.key.kind == "WorkloadEntry":
        return True
    if old is None or new is None or present.key.kind != "ServiceEntry" or old.labels != new.labels:
        return False
    if old.origin != new.origin:
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
