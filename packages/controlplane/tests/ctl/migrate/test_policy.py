"""Shares in DualModes: read, written, and what cannot be walked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.ctl.migrate.plan import Plan
from isthmus_controlplane.ctl.migrate.policy import SIDES, find_policy, new_policy, share_of, with_shares
from isthmus_controlplane.ctl.migrate.record import LEASE_S, Record, read_record, with_record
from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.model.document import parse_document


def policy(name: str = "p", host: str = "web.shop", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "isthmus.io/v1alpha1",
        "kind": "DualMode",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"host": host, **spec},
    }


@pytest.mark.parametrize(
    ("view", "share"),
    [
        (None, 100),
        ({"prefer": ["mesh", "native"]}, 100),
        ({"prefer": ["native"]}, 0),
        ({"rules": [{"percent": 30.0, "prefer": ["mesh"]}], "prefer": ["native", "mesh"]}, 30),
        ({"rules": [{"prefer": ["mesh"]}], "prefer": ["native"]}, 0),
    ],
)
def test_shares_are_read(view: Any, share: float) -> None:
    document = policy(sdk=view) if view is not None else policy()
    assert share_of(document, "sdk") == share


@pytest.mark.parametrize(
    "view",
    [
        {"prefer": ["gateway", "mesh"]},
        {"rules": [{"percent": 10, "prefer": ["mesh"]}, {"percent": 10, "prefer": ["native"]}], "prefer": ["native"]},
        {"rules": [{"percent": 10, "prefer": ["native"]}], "prefer": ["native"]},
        {"rules": [{"percent": 10, "prefer": ["mesh"]}], "prefer": ["mesh"]},
        {"rules": [{"percent": 10, "prefer": ["mesh"]}]},
    ],
)
def test_views_that_cannot_be_walked_are_named(view: Any) -> None:
    with pytest.raises(ConfigError, match=r"DualMode default/p: spec\.mesh"):
        share_of(policy(mesh=view), "mesh")


@given(
    st.sampled_from(SIDES),
    st.floats(0, 100),
    st.sampled_from([None, {"prefer": ["native", "gateway"]}, {"prefer": ["mesh"]}]),
)
def test_a_share_that_is_written_is_read_again_and_is_a_policy(side: str, share: float, view: Any) -> None:
    document = policy(gateway={"host": "10.0.0.1", "port": 80}, overlap="7s")
    if view is not None:
        document["spec"][side] = view
    changed = with_shares(with_shares(document, {side: 50.0}), {side: share})
    assert share_of(changed, side) == share
    parse_document(changed, "test")
    other = {name: value for name, value in changed["spec"].items() if name != side}
    assert other == {name: value for name, value in document["spec"].items() if name != side}


def test_a_rule_keeps_what_it_says_besides() -> None:
    document = policy(
        sdk={"rules": [{"name": "canary", "percent": 5, "prefer": ["mesh", "gateway"]}], "prefer": ["native"]}
    )
    view = with_shares(document, {"sdk": 20.0})["spec"]["sdk"]
    assert view == {"rules": [{"name": "canary", "percent": 20.0, "prefer": ["mesh", "gateway"]}], "prefer": ["native"]}


def test_the_policy_of_a_service_is_found() -> None:
    mine, narrow = policy("a"), policy("b", application="x")
    others = [policy("c", host="other.shop"), policy("d", namespace="elsewhere"), policy("e", host="")]
    assert find_policy([*others, mine, narrow], "web.shop", "default", "") is mine
    assert find_policy([*others, mine, narrow], "web.shop", "default", "b") is narrow
    assert find_policy(others, "web.shop", "default", "") is None
    short = policy("s", host="web")
    assert find_policy([short], "web.default.svc.cluster.local", "default", "") is short
    with pytest.raises(ConfigError, match="policies a, z: say by --policy"):
        find_policy([mine, policy("z")], "web.shop", "default", "")
    with pytest.raises(ConfigError, match="policies b: say by --policy"):
        find_policy([narrow], "web.shop", "default", "")
    with pytest.raises(ConfigError, match=r"is no DualMode of web\.shop"):
        find_policy([mine], "web.shop", "default", "other")


def test_a_new_policy_is_valid() -> None:
    made = new_policy("Web.shop", "default", 0.0)
    parse_document(made, "test")
    assert {side: share_of(made, side) for side in SIDES} == {"sdk": 0, "mesh": 0}


RECORD = Record(
    "id", "running", Plan("mesh", 10.0), SIDES, {"sdk": 10.0, "mesh": 40.0}, 10.0, "applying", "h:1", 100.0, 90.0
)


def test_a_record_survives_the_annotation() -> None:
    written = with_record(policy(), RECORD)
    parse_document(written, "test")
    assert read_record(written) == RECORD
    assert read_record(policy()) is None
    written["metadata"]["annotations"]["isthmus.io/migration"] = "{}"
    with pytest.raises(ConfigError, match=r"isthmus\.io/migration"):
        read_record(written)


def test_a_side_that_is_further_already_stays_until_it_is_reached() -> None:
    assert RECORD.shares(20.0) == {"sdk": 20, "mesh": 40}
    assert RECORD.shares(50.0) == {"sdk": 50, "mesh": 50}
    assert RECORD.shares(10.0) == {"sdk": 10, "mesh": 40}, "back at the beginning each side is where it was"


def test_a_record_is_alive_for_as_long_as_it_is_heard_of() -> None:
    assert RECORD.is_alive(100 + LEASE_S - 0.1)
    assert not RECORD.is_alive(100 + LEASE_S)
