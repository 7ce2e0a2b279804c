"""WorkloadEntries beside the WorkloadGroups that they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from isthmus_controlplane.model.service import workload_labels
from isthmus_controlplane.stores.base import ConfigObject, Problem


def group_warnings(groups: Iterable[ConfigObject], entries: Iterable[ConfigObject]) -> Iterator[Problem]:
    """Say where a WorkloadEntry differs from the template of its group: one of its namespace whose labels it has."""
    listed = [group for group in groups if group.spec.metadata.labels]  # type: ignore[attr-defined]
    for entry in entries if listed else ():
        spec: Any = entry.spec
        labels = workload_labels(spec, entry.labels)
        for group in listed:
            wanted: Any = group.spec
            if group.key.namespace != entry.key.namespace or not wanted.metadata.labels.items() <= labels.items():
                continue
            for path, message in _differences(spec, wanted.template, str(group.key)):
                yield Problem(f"{entry.origin} ({entry.key})", path, message)


def _differences(entry: Any, template: Any, group: str) -> Iterator[tuple[str, str]]:
    if template.ports:
        for name in sorted(entry.ports):
            if name not in template.ports:
                known = ", ".join(sorted(template.ports))
                yield f"spec.ports.{name}", f"{name!r} is not a port of the template of {group}: it has {known}"
    if template.service_account and entry.service_account not in {"", template.service_account}:
        message = f"{entry.service_account!r} is not the account of {group}, {template.service_account!r}"
        yield "spec.serviceAccount", message
    for name, value in sorted(template.labels.items()):
        if entry.labels.get(name, value) != value:
            yield f"spec.labels.{name}", f"{entry.labels[name]!r} is not what {group} says, {value!r}"
