"""Role-based access control in configurations: what is refused, and with which words."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC

from isthmus_proxy.config.check import check
from isthmus_proxy.config.http_filters.rbac import compile_rbac_filter
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.rbac import RbacConfig
from isthmus_proxy.rbac.model import Anything, Policy

ANY: list[Any] = [{"any": True}]


def compiled(value: object) -> RbacConfig:
    proto = RBAC()
    fill(proto, value)
    check(proto, "rbac")
    return compile_rbac_filter(proto, "rbac")


def policy(**parts: object) -> dict[str, object]:
    return {"rules": {"policies": {"p": {"permissions": ANY, "principals": ANY, **parts}}}}


def test_policies_are_in_the_order_of_their_names() -> None:
    each = {"permissions": ANY, "principals": ANY}
    rules = compiled({"rules": {"policies": {"b": each, "a": each}}}).rules
    assert rules is not None
    assert rules.policies == (Policy("a", (Anything(),), (Anything(),)), Policy("b", (Anything(),), (Anything(),)))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"matcher": {}}, r"rbac\.matcher.* is not supported"),
        ({"shadow_matcher": {}}, r"rbac\.shadow_matcher.* is not supported"),
        ({"rules": {"audit_logging_options": {"audit_condition": "ON_DENY"}}}, r"audit_logging_options"),
        (policy(condition={"id": "1"}), r'policies\["p"\]\.condition'),
        (policy(checked_condition={}), r"checked_condition"),
        (policy(permissions=[]), r'policies\["p"\]\.permissions.* needs at least one'),
        (policy(principals=[]), r"principals.* needs at least one"),
        (policy(permissions=[{}]), r"permissions\[0\].* its rule is missing"),
        (policy(principals=[{}]), r"principals\[0\].* its identifier is missing"),
        (policy(permissions=[{"and_rules": {}}]), r"and_rules\.rules.* needs at least one"),
        (policy(permissions=[{"any": False}]), r"permissions\[0\]\.any.* can only be true"),
        (policy(permissions=[{"destination_port": 65536}]), r"destination_port.* must be ports"),
        (policy(permissions=[{"destination_port_range": {"start": 2, "end": 2}}]), r"destination_port_range"),
        (policy(permissions=[{"url_path": {}}]), r"url_path\.path.* is required"),
        (policy(permissions=[{"destination_ip": {"address_prefix": "x"}}]), r"destination_ip"),
        (policy(permissions=[{"metadata": {"filter": "f", "value": {"bool_match": True}}}]), r"metadata\.path"),
        (policy(permissions=[{"metadata": {"filter": "f", "path": [{"key": "k"}]}}]), r"metadata\.value"),
        (
            policy(permissions=[{"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {}}}]),
            r"metadata\.value.* needs one of null_match",
        ),
        (policy(principals=[{"filter_state": {"key": "k", "address_match": {}}}]), r"filter_state\.address_match"),
        (policy(principals=[{"custom": {"name": "c"}}]), r"principals\[0\]\.custom"),
        (policy(permissions=[{"matcher": {"name": "c"}}]), r"permissions\[0\]\.matcher"),
    ],
)
def test_what_cannot_be_decided_is_refused_by_name(value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compiled(value)


def test_no_rules_are_not_empty_rules() -> None:
    assert compiled({}).rules is None
    rules = compiled({"rules": {}}).rules
    assert rules is not None
    assert rules.policies == ()
