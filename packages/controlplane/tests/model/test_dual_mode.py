"""DualMode: what is refused by path, what is warned about, and that a policy never holds anything back."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.model.document import DocumentError, parse_document, to_document
from isthmus_controlplane.model.testing import admitted, make, policy, service
from isthmus_controlplane.stores.base import ConfigObject

HOST = "greeter.shop"
GATEWAY = {"host": "10.9.0.1", "port": 80}
FULL: dict[str, Any] = {
    "host": HOST,
    "application": "greeter",
    "labels": {"zone": "a"},
    "exportTo": [".", "shop"],
    "sdk": {"rules": [{"name": "canary", "percent": 12.5, "prefer": ["mesh", "native"]}], "prefer": ["native"]},
    "mesh": {"prefer": ["mesh", "native", "gateway"]},
    "gateway": GATEWAY,
    "overlap": "7s",
    "overrides": [{"instance": "10.0.0.7:20880", "sdk": ["native"], "mesh": ["native"]}],
}


def refused(spec: dict[str, Any]) -> dict[str, str]:
    try:
        policy("one", **spec)
    except DocumentError as error:
        return {problem.path.removeprefix("spec."): problem.message for problem in error.problems}
    return {}


def warned(*objects: ConfigObject) -> list[tuple[str, str]]:
    return [(each.origin, each.path) for each in admitted(objects).problems if "DualMode" in each.origin]


def dubbo(host: str, port_name: str = "dubbo-tcp") -> ConfigObject:
    port = {"number": 20880, "name": port_name, "protocol": "TCP"}
    spec = {"hosts": [host], "ports": [port], "resolution": "STATIC", "endpoints": [{"address": "10.0.0.1"}]}
    return make("ServiceEntry", host.replace(".", "-"), spec)


def test_a_full_policy_is_taken_and_written_as_it_was_read() -> None:
    obj = policy("one", **FULL)
    document = to_document(obj)
    assert document["apiVersion"] == "isthmus.io/v1alpha1"
    assert document["spec"] == FULL
    assert parse_document(document, obj.origin).version == obj.version


@pytest.mark.parametrize("spec", [{}, {"sdk": {"rules": [{"percent": 0, "prefer": ["mesh"]}]}}, {"overlap": "0s"}])
def test_what_is_not_said_has_a_default(spec: dict[str, Any]) -> None:
    assert refused(spec) == {}


def test_the_api_version_is_isthmus_own() -> None:
    document = {**to_document(policy("one")), "apiVersion": "networking.istio.io/v1"}
    with pytest.raises(DocumentError, match=r"'networking.istio.io/v1' is not one of isthmus.io/v1alpha1"):
        parse_document(document, "a.yaml#1")


@pytest.mark.parametrize(
    ("spec", "path", "part"),
    [
        ({"host": "*.shop"}, "host", "without wildcard"),
        ({"colour": "red"}, "colour", "unknown field"),
        ({"sdk": {"prefer": ["sidecar"]}}, "sdk.prefer[0]", "not one of native, mesh, gateway"),
        ({"mesh": {"prefer": ["mesh", "mesh"]}}, "mesh.prefer[1]", "stands twice"),
        ({"mesh": {"prefer": ["gateway"]}}, "mesh.prefer[0]", "set spec.gateway"),
        ({"gateway": {"host": "gateway", "port": 80}}, "gateway.host", "not an IP address"),
        ({"gateway": {"host": "10.0.0.1"}}, "gateway.port", "not a port"),
        ({"sdk": {"rules": [{"percent": 101, "prefer": ["mesh"]}]}}, "sdk.rules[0].percent", "use 0 to 100"),
        ({"sdk": {"rules": [{"percent": -1, "prefer": ["mesh"]}]}}, "sdk.rules[0].percent", "use 0 to 100"),
        ({"sdk": {"rules": [{"percent": "NaN", "prefer": ["mesh"]}]}}, "sdk.rules[0].percent", "use 0 to 100"),
        ({"sdk": {"rules": [{"percent": "ten", "prefer": ["mesh"]}]}}, "sdk.rules[0].percent", "not a number"),
        ({"sdk": {"rules": [{"percent": 10}]}}, "sdk.rules[0].prefer", "is empty"),
        ({"mesh": {"rules": [{"percent": 1, "prefer": ["tls"]}]}}, "mesh.rules[0].prefer[0]", "not one of"),
        ({"overlap": "-1s"}, "overlap", "too short"),
        ({"overlap": "2h"}, "overlap", "at most an hour"),
        ({"exportTo": ["~"]}, "exportTo[0]", "delete the policy"),
        ({"overrides": [{"instance": "a"}]}, "overrides[0]", "says nothing"),
        ({"overrides": [{"sdk": ["mesh"]}]}, "overrides[0].instance", "is empty"),
        ({"overrides": [{"instance": "a", "sdk": ["x"]}]}, "overrides[0].sdk[0]", "not one of"),
    ],
)
def test_bad_values_are_refused_by_path(spec: dict[str, Any], path: str, part: str) -> None:
    found = refused(spec)
    assert list(found) == [path]
    assert part in found[path]


def test_rules_share_a_hundred_percent() -> None:
    rules = [{"percent": 60, "prefer": ["mesh"]}, {"percent": 40, "prefer": ["native"]}]
    assert refused({"sdk": {"rules": rules}}) == {}
    assert list(refused({"sdk": {"rules": [*rules, {"percent": 0.1, "prefer": ["mesh"]}]}})) == ["sdk.rules[2].percent"]


def test_names_of_rules_and_overridden_instances_differ() -> None:
    rules = [{"name": "a", "percent": 1, "prefer": ["mesh"]}] * 2
    assert list(refused({"sdk": {"rules": rules}})) == ["sdk.rules[1].name"]
    assert list(refused({"overrides": [{"instance": "a", "sdk": ["mesh"]}] * 2})) == ["overrides[1].instance"]


def test_an_unknown_host_is_a_warning() -> None:
    one = policy("one", host=HOST)
    assert warned(one) == [("one.yaml#1 (DualMode default/one)", "spec.host")]
    assert warned(one, dubbo(HOST)) == []
    assert admitted([one]).in_use.keys() == {one.key}
    assert admitted([one]).held == frozenset()


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        ({"host": HOST}, {"host": HOST}, True),
        ({"host": HOST}, {"host": "other.shop"}, False),
        ({"host": HOST}, {"host": HOST, "application": "a"}, False),
        ({"application": "a"}, {"application": "b"}, False),
        ({"application": "a"}, {"application": "a"}, True),
        ({"labels": {"zone": "a"}}, {"labels": {"zone": "b"}}, False),
        ({"labels": {"zone": "a"}}, {"labels": {"rack": "b"}}, True),
        ({"labels": {"zone": "a"}}, {"labels": {"zone": "a", "rack": "b"}}, False),
        ({}, {}, True),
        ({"exportTo": ["x"]}, {"exportTo": ["y"]}, False),
        ({"exportTo": ["*"]}, {"exportTo": ["y"]}, True),
    ],
)
def test_policies_that_select_equally_narrowly_are_a_warning(
    first: dict[str, Any], second: dict[str, Any], meet: bool
) -> None:
    objects = [dubbo(HOST), dubbo("other.shop"), policy("a", **first), policy("b", **second)]
    assert warned(*objects) == ([("b.yaml#1 (DualMode default/b)", "spec")] if meet else [])


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"sdk": {"prefer": ["mesh", "native"]}}, "spec.sdk.prefer"),
        ({"sdk": {"rules": [{"percent": 10, "prefer": ["mesh"]}]}}, "spec.sdk.rules[0].prefer"),
        ({"overrides": [{"instance": "a", "sdk": ["mesh"]}]}, "spec.overrides[0].sdk"),
        ({"mesh": {"prefer": ["native"]}}, None),
        ({"sdk": {"prefer": ["native", "mesh"]}}, None),
    ],
)
def test_what_an_sdk_cannot_do_is_a_warning(spec: dict[str, Any], path: str | None) -> None:
    one = policy("one", host=HOST, **spec)
    assert warned(dubbo(HOST), one) == []
    assert [where for _, where in warned(dubbo(HOST, "bolt-tcp"), one)] == ([path] if path else [])


def test_other_kinds_are_admitted_as_before() -> None:
    objects = [service(HOST, "v1"), policy("one", host=HOST)]
    admission = admitted(objects)
    assert admission.model.policies == (objects[1],)
    assert admission.in_use.keys() == {obj.key for obj in objects}
