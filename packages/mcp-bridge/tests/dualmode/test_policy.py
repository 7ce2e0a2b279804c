"""Reading policies from messages; bad values name their path."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode
from isthmus_mcp_bridge.dualmode.instance import Address, Instance
from isthmus_mcp_bridge.dualmode.policy import Choice, Override, Policy, PolicyError, Rule, View, read_policy
from isthmus_mcp_bridge.model import Labels, ServiceKey


def read(**spec: Any) -> Policy:
    return read_policy("default", "one", json_format.ParseDict(spec, DualMode()))


def instance(labels: Labels) -> Instance:
    service = ServiceKey("default", "greeter")
    return Instance(service, "TCP", "a", "app", labels, None, None, native_up=False, mesh_up=False)


def test_every_field() -> None:
    assert read(
        host="Greeter.shop",
        application="app",
        labels={"zone": "a", "rack": "1"},
        exportTo=[".", "shop"],
        sdk={"rules": [{"percent": 10, "prefer": ["mesh"]}], "prefer": ["native"]},
        mesh={"rules": [{"name": "all", "percent": 100, "prefer": ["gateway", "mesh"]}]},
        gateway={"host": "10.0.9.1", "port": 80},
        overlap="1.5s",
        overrides=[{"instance": "a", "sdk": ["native"]}],
    ) == Policy(
        namespace="default",
        name="one",
        host="greeter.shop",
        application="app",
        labels=(("rack", "1"), ("zone", "a")),
        namespaces=frozenset({"default", "shop"}),
        sdk=View((Rule("0", 10, (Choice.MESH,)),), (Choice.NATIVE,)),
        mesh=View((Rule("all", 100, (Choice.GATEWAY, Choice.MESH)),)),
        gateway=Address("10.0.9.1", 80),
        overlap_s=1.5,
        overrides=(Override("a", sdk=(Choice.NATIVE,)),),
    )


def test_what_is_not_said() -> None:
    policy = read()
    assert policy == Policy("default", "one", namespaces=frozenset({"default"}), overlap_s=5.0)
    assert not policy.sdk


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"sdk": {"prefer": ["sidecar"]}}, "spec.sdk.prefer: 'sidecar'"),
        ({"mesh": {"prefer": ["mesh", "mesh"]}}, "spec.mesh.prefer: 'mesh'"),
        ({"mesh": {"prefer": ["gateway"]}}, "spec.mesh.prefer: 'gateway' has no address"),
        ({"sdk": {"rules": [{"percent": 101, "prefer": ["mesh"]}]}}, "spec.sdk.rules[0].percent: 101"),
        ({"sdk": {"rules": [{"percent": "NaN", "prefer": ["mesh"]}]}}, "spec.sdk.rules[0].percent: nan"),
        ({"sdk": {"rules": [{"percent": 60, "prefer": ["mesh"]}] * 2}}, "spec.sdk.rules[1].percent: 60"),
        ({"sdk": {"rules": [{"percent": 60}]}}, "spec.sdk.rules[0].prefer: is empty"),
        ({"gateway": {"host": "x", "port": 1}}, "spec.gateway.host: 'x'"),
        ({"gateway": {"host": "10.0.0.1"}}, "spec.gateway.port: 0"),
        ({"overlap": "3601s"}, "spec.overlap: 3601 s"),
        ({"overrides": [{"sdk": ["mesh"]}]}, "spec.overrides[0].instance"),
        ({"overrides": [{"instance": "a", "mesh": ["x"]}]}, "spec.overrides[0].mesh: 'x'"),
    ],
)
def test_bad_values_are_named(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read(**spec)
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize(
    ("spec", "selected"),
    [
        ({}, True),
        ({"host": "greeter"}, True),
        ({"host": "greeter2"}, False),
        ({"application": "app"}, True),
        ({"application": "app2"}, False),
        ({"labels": {"zone": "a"}}, True),
        ({"labels": {"zone": "a", "rack": "1"}}, True),
        ({"labels": {"zone": "b"}}, False),
        ({"labels": {"other": "a"}}, False),
        ({"exportTo": ["*"]}, True),
        ({"exportTo": ["shop"]}, False),
        ({"exportTo": ["shop", "."]}, True),
    ],
)
def test_what_a_policy_selects(spec: dict[str, Any], selected: bool) -> None:
    assert read(**spec).selects(instance((("rack", "1"), ("zone", "a")))) is selected


def test_the_narrowest_policy_counts() -> None:
    """In the documented order: host, application, labels, the service's own namespace, then by name."""
    every = frozenset({"*"})
    ordered = [
        Policy("z", "host-and-app", host="greeter", application="app", namespaces=every),
        Policy("z", "host-and-label", host="greeter", labels=(("zone", "a"),), namespaces=every),
        Policy("z", "host", host="greeter", namespaces=every),
        Policy("z", "app-and-label", application="app", labels=(("zone", "a"),), namespaces=every),
        Policy("z", "app", application="app", namespaces=every),
        Policy("z", "two-labels", labels=(("rack", "1"), ("zone", "a")), namespaces=every),
        Policy("z", "label", labels=(("zone", "a"),), namespaces=every),
        Policy("own", "z", namespaces=every),
        Policy("a", "b", namespaces=every),
        Policy("b", "a", namespaces=every),
        Policy("b", "b", namespaces=every),
    ]
    backwards = ordered[::-1]
    assert sorted(backwards, key=lambda one: one.precedence("own")) == ordered
