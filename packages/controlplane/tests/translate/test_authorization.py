"""AuthorizationPolicies as RBAC, on requests and on connections."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.testing import make
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.authorization import access_rules


def policy(name: str, action: str, *rules: dict[str, Any]) -> ConfigObject:
    return make("AuthorizationPolicy", name, {"action": action, "rules": list(rules)}, "shop")


def translated(*policies: ConfigObject, http: bool = True) -> list[Any]:
    return [MessageToDict(rules, preserving_proto_field_name=True) for rules in access_rules(policies, http=http)]


def the_rule(rule: dict[str, Any], *, http: bool = True, action: str = "DENY") -> Any:
    (rules,) = translated(policy("p", action, rule), http=http)
    return rules.get("policies", {}).get("ns[shop]-policy[p]-rule[0]")


def source(**fields: Any) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


def test_deny_goes_before_allow_and_marks_before_both() -> None:
    found = translated(policy("a", "ALLOW", {}), policy("b", "DENY", {}), policy("c", "AUDIT", {}))
    assert [rules.get("action", "ALLOW") for rules in found] == ["LOG", "DENY", "ALLOW"]
    anything = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    assert [list(rules["policies"].values()) for rules in found] == [[anything]] * 3


def test_an_allow_policy_without_rules_denies_everything_and_a_deny_policy_without_rules_nothing() -> None:
    assert translated(policy("a", "ALLOW")) == [{}]
    assert translated(policy("a", "DENY")) == []
    assert translated() == []


def test_rules_of_all_policies_stand_side_by_side() -> None:
    (rules,) = translated(policy("a", "ALLOW", {}, source(namespaces=["x"])), policy("b", "ALLOW", {}))
    assert sorted(rules["policies"]) == [
        "ns[shop]-policy[a]-rule[0]", "ns[shop]-policy[a]-rule[1]", "ns[shop]-policy[b]-rule[0]",
    ]  # fmt: skip


def test_operations() -> None:
    rule = the_rule({"to": [
        {"operation": {"methods": ["GET", "HEAD"], "paths": ["/a/*"], "notPaths": ["*.js", "/x"]}},
        {"operation": {"hosts": ["*"], "ports": ["8080"]}},
    ]})  # fmt: skip
    assert rule["principals"] == [{"any": True}]
    assert rule["permissions"] == [
        {"and_rules": {"rules": [
            {"or_rules": {"rules": [
                {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                {"header": {"name": ":method", "string_match": {"exact": "HEAD"}}},
            ]}},
            {"url_path": {"path": {"prefix": "/a/"}}},
            {"not_rule": {"or_rules": {"rules": [
                {"url_path": {"path": {"suffix": ".js"}}},
                {"url_path": {"path": {"exact": "/x"}}},
            ]}}},
        ]}},
        {"and_rules": {"rules": [
            {"header": {"name": ":authority", "string_match": {"safe_regex": {"regex": ".+"}}}},
            {"destination_port": 8080},
        ]}},
    ]  # fmt: skip


def test_path_templates() -> None:
    (permission,) = the_rule({"to": [{"operation": {"paths": ["/a/{*}/{**}"]}}]})["permissions"]
    config = permission["and_rules"]["rules"][0]["uri_template"]["typed_config"]
    assert config["path_template"] == "/a/*/**"


def ids(rule: dict[str, Any]) -> list[Any]:
    (principal,) = the_rule(rule)["principals"]
    found: list[Any] = principal["and_ids"]["ids"]
    return found


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"principals": ["td/ns/a/sa/b"]}, {"exact": "spiffe://td/ns/a/sa/b"}),
        ({"principals": ["td/*"]}, {"prefix": "spiffe://td/"}),
        ({"principals": ["*/sa/b"]}, {"suffix": "/sa/b"}),
        ({"principals": ["*"]}, {"safe_regex": {"regex": ".+"}}),
        ({"namespaces": ["a.b*"]}, {"safe_regex": {"regex": r".*/ns/a\.b.*/.*"}}),
        ({"trustDomains": ["td"]}, {"safe_regex": {"regex": "spiffe://td/.*"}}),
        ({"serviceAccounts": ["b"]}, {"safe_regex": {"regex": "spiffe://.+/ns/shop/(.+/|)sa/b(/.+)?"}}),
        ({"serviceAccounts": ["a/b"]}, {"safe_regex": {"regex": "spiffe://.+/ns/a/(.+/|)sa/b(/.+)?"}}),
    ],
)
def test_identities_of_certificates(fields: dict[str, Any], name: dict[str, Any]) -> None:
    assert ids(source(**fields)) == [{"authenticated": {"principal_name": name}}]
    (negated,) = ids(source(**{f"not{each[0].upper()}{each[1:]}": values for each, values in fields.items()}))
    assert negated == {"not_id": {"authenticated": {"principal_name": name}}}


def test_addresses() -> None:
    found = ids(source(ipBlocks=["10.1.2.3/8"], notRemoteIpBlocks=["2001:db8::1"]))
    assert found == [
        {"direct_remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}},
        {"not_id": {"remote_ip": {"address_prefix": "2001:db8::1", "prefix_len": 128}}},
    ]


def claim(name: str, value: Any) -> Any:
    path = [{"key": "payload"}, {"key": name}]
    return {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": path, "value": {"string_match": value}}}


ANY = {"safe_regex": {"regex": ".+"}}


@pytest.mark.parametrize(
    ("value", "issuer", "subject"),
    [
        ("*", ANY, ANY),
        ("https://a/b/me", {"exact": "https://a/b"}, {"exact": "me"}),
        ("a/*", {"exact": "a"}, ANY),
        ("*/me", ANY, {"exact": "me"}),
        ("a/m*", {"exact": "a"}, {"prefix": "m"}),
        ("*me", ANY, {"suffix": "me"}),
        ("a*", {"prefix": "a"}, ANY),
    ],
)
def test_identities_of_tokens(value: str, issuer: Any, subject: Any) -> None:
    (found,) = ids(source(requestPrincipals=[value]))
    assert found == {"and_ids": {"ids": [claim("iss", issuer), claim("sub", subject)]}}


def test_conditions_add_to_every_operation_and_source() -> None:
    rule = the_rule({
        "from": [{"source": {"namespaces": ["a"]}}, {"source": {"namespaces": ["b"]}}],
        "when": [
            {"key": "request.headers[x-a]", "values": ["1", "*"]},
            {"key": "request.auth.claims[groups]", "notValues": ["x*"]},
            {"key": "connection.sni", "values": ["a.shop"]},
            {"key": "destination.ip", "values": ["10.0.0.1"]},
        ],
    })  # fmt: skip
    assert rule["permissions"] == [{"and_rules": {"rules": [
        {"requested_server_name": {"exact": "a.shop"}},
        {"destination_ip": {"address_prefix": "10.0.0.1", "prefix_len": 32}},
    ]}}]  # fmt: skip
    header = {"or_ids": {"ids": [
        {"header": {"name": "x-a", "string_match": {"exact": "1"}}},
        {"header": {"name": "x-a", "present_match": True}},
    ]}}  # fmt: skip
    assert [principal["and_ids"]["ids"][1] for principal in rule["principals"]] == [header, header]
    listed = rule["principals"][1]["and_ids"]["ids"][2]["not_id"]["metadata"]["value"]["or_match"]["value_matchers"]
    assert listed == [{"string_match": {"prefix": "x"}}, {"list_match": {"one_of": {"string_match": {"prefix": "x"}}}}]


GET_FROM_A = {"to": [{"operation": {"methods": ["GET"], "ports": ["90"]}}], **source(namespaces=["a"])}


def test_a_rule_that_asks_for_a_request_takes_no_connection_as_allow() -> None:
    assert translated(policy("p", "ALLOW", GET_FROM_A), http=False) == [{}]


def test_a_rule_that_asks_for_a_request_is_read_without_that_as_deny() -> None:
    rule = the_rule(GET_FROM_A, http=False)
    assert rule["permissions"] == [{"and_rules": {"rules": [{"destination_port": 90}]}}]
    assert the_rule({"when": [{"key": "request.headers[a]", "values": ["1"]}]}, http=False) == {
        "permissions": [{"any": True}],
        "principals": [{"any": True}],
    }


def test_connections_are_allowed_by_what_they_have() -> None:
    rule = the_rule({"to": [{"operation": {"ports": ["90"]}}]}, http=False, action="ALLOW")
    assert rule["permissions"] == [{"and_rules": {"rules": [{"destination_port": 90}]}}]
