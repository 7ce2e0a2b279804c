"""WorkloadGroups as templates of WorkloadEntries."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.testing import admitted, make
from isthmus_controlplane.model.world import World
from isthmus_controlplane.stores.base import StoreState

TEMPLATE = {"ports": {"http": 8080}, "serviceAccount": "reviews", "labels": {"app": "reviews", "tier": "web"}}


def group(namespace: str = "default", **template: Any) -> Any:
    spec = {"metadata": {"labels": {"app": "reviews"}}, "template": TEMPLATE | template}
    return make("WorkloadGroup", "reviews", spec, namespace)


def warned(*objects: Any, **entry: Any) -> set[str]:
    listed = make("WorkloadEntry", "one", {"address": "10.0.0.1", "labels": {"app": "reviews"}} | entry)
    return {problem.path for problem in admitted([*objects, listed]).problems}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, set()),
        ({"ports": {"http": 81}, "serviceAccount": "reviews"}, set()),
        ({"ports": {"grpc": 81}}, {"spec.ports.grpc"}),
        ({"serviceAccount": "ratings"}, {"spec.serviceAccount"}),
        ({"labels": {"app": "reviews", "tier": "db"}}, {"spec.labels.tier"}),
        ({"labels": {"app": "ratings"}, "serviceAccount": "ratings"}, set()),
    ],
)
def test_an_entry_that_differs_from_its_group_is_warned_about(entry: dict[str, Any], expected: set[str]) -> None:
    assert warned(group(), **entry) == expected
    assert warned(group("other"), **entry) == set()
    assert warned(**entry) == set()


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, "spec.template"),
        ({"template": {"address": "10.0.0.1"}}, "spec.template.address"),
        ({"template": {"ports": {"http": 0}}}, "spec.template.ports.http"),
        ({"template": {}, "probe": {"tcpSocket": {"port": 1}}}, "spec.probe"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(DocumentError) as refused:
        make("WorkloadGroup", "g", spec)
    assert path in [problem.path for problem in refused.value.problems]


def test_what_is_said_of_an_entry_follows_its_changes() -> None:
    world = World(["memory:"], MeshSettings())
    template, seen = group(), []
    for account in ("ratings", "reviews", "ratings"):
        entry = make(
            "WorkloadEntry", "one", {"address": "10.0.0.1", "labels": {"app": "reviews"}, "serviceAccount": account}
        )
        objects = {obj.key: obj for obj in (template, entry)}
        world.take(StoreState("memory:", synced=True, objects=objects))
        seen.append(len(world.admit().problems))
    assert seen == [1, 0, 1]
