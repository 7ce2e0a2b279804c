"""Rules of AuthorizationPolicy, RequestAuthentication and PeerAuthentication."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.model.document import DocumentError, parse_document, to_document
from isthmus_controlplane.model.testing import document, make

KEYS = '{"keys": [{"kty": "oct", "k": "AAAA"}]}'


def paths(kind: str, **spec: Any) -> set[str]:
    try:
        make(kind, "p", spec)
    except DocumentError as error:
        return {problem.path.removeprefix("spec.") for problem in error.problems}
    return set()


def rule(**parts: Any) -> dict[str, Any]:
    return {"rules": [parts]}


def token(**fields: Any) -> dict[str, Any]:
    return {"jwtRules": [{"issuer": "me", "jwks": KEYS} | fields]}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"action": "DENY", "rules": [{}]},
        {"action": "AUDIT", "selector": {"matchLabels": {"app": "a"}}},
        rule(**{"from": [{"source": {"principals": ["*"], "notNamespaces": ["a", "b*"], "ipBlocks": ["10.0.0.0/8", "::1"]}}]}),
        rule(**{"from": [{"source": {"serviceAccounts": ["a/b", "c"], "remoteIpBlocks": ["1.2.3.4"], "trustDomains": ["td"]}}]}),
        rule(to=[{"operation": {"hosts": ["*.shop"], "ports": ["80"], "methods": ["GET"], "paths": ["/a*", "/{*}/b/{**}"]}}]),
        rule(when=[{"key": "request.headers[x-a]", "values": ["1"]}, {"key": "request.auth.claims[a][b]", "notValues": ["*"]}]),
        rule(when=[{"key": "source.ip", "values": ["10.1.2.3/16"]}, {"key": "destination.port", "values": ["443"]}]),
    ],
)  # fmt: skip
def test_good_policies(spec: dict[str, Any]) -> None:
    assert paths("AuthorizationPolicy", **spec) == set()


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"action": "CUSTOM", "provider": {"name": "x"}}, "action"),
        ({"provider": {"name": "x"}}, "provider"),
        ({"targetRefs": [{"kind": "Service", "name": "a"}]}, "targetRefs"),
        (rule(**{"from": [{"source": {}}]}), "rules[0].from[0].source"),
        (rule(**{"from": [{}]}), "rules[0].from[0].source"),
        (rule(**{"from": [{"source": {"ipBlocks": ["10.0.0.0/33"]}}]}), "rules[0].from[0].source.ipBlocks[0]"),
        (rule(**{"from": [{"source": {"serviceAccounts": ["a/b/c"]}}]}), "rules[0].from[0].source.serviceAccounts[0]"),
        (rule(to=[{"operation": {"ports": ["http"]}}]), "rules[0].to[0].operation.ports[0]"),
        (rule(to=[{"operation": {"paths": ["/a{*}"]}}]), "rules[0].to[0].operation.paths[0]"),
        (rule(to=[{"operation": {"methods": [""]}}]), "rules[0].to[0].operation.methods[0]"),
        (rule(when=[{"key": "request.color", "values": ["x"]}]), "rules[0].when[0].key"),
        (rule(when=[{"key": "request.headers", "values": ["x"]}]), "rules[0].when[0].key"),
        (rule(when=[{"key": "source.ip[x]", "values": ["10.0.0.1"]}]), "rules[0].when[0].key"),
        (rule(when=[{"key": "source.ip", "values": ["here"]}]), "rules[0].when[0].values[0]"),
        (rule(when=[{"key": "request.auth.claims[a]"}]), "rules[0].when[0]"),
        (rule(when=[{"key": "experimental.envoy.filters.a[b]", "values": ["x"]}]), "rules[0].when[0].key"),
    ],
)
def test_bad_policies(spec: dict[str, Any], path: str) -> None:
    assert path in paths("AuthorizationPolicy", **spec)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, ""),
        (token(), ""),
        (token(fromHeaders=[{"name": "x-jwt", "prefix": "JWT "}], fromCookies=["c"], timeout="2s"), ""),
        ({"jwtRules": [{"issuer": "me", "jwksUri": "https://keys.example/jwks.json"}]}, ""),
        (token(issuer=""), "jwtRules[0].issuer"),
        (token(jwks=""), "jwtRules[0]"),
        (token(jwksUri="https://keys.example/"), "jwtRules[0]"),
        (token(jwks="{"), "jwtRules[0].jwks"),
        (token(jwks='{"keys": []}'), "jwtRules[0].jwks"),
        (token(jwks="", jwksUri="ftp://keys.example/"), "jwtRules[0].jwksUri"),
        (token(jwks="", jwksUri="http://keys.example:99999/"), "jwtRules[0].jwksUri"),
        (token(jwks="", jwksUri="https://10.0.0.1/"), "jwtRules[0].jwksUri"),
        (token(fromHeaders=[{"name": "a b"}]), "jwtRules[0].fromHeaders[0].name"),
        (token(outputClaimToHeaders=[{"header": "x-a", "claim": ""}]), "jwtRules[0].outputClaimToHeaders[0].claim"),
        (token(timeout="0s"), "jwtRules[0].timeout"),
        ({"targetRef": {"kind": "Gateway", "name": "g"}}, "targetRef"),
    ],
)
def test_request_authentication(spec: dict[str, Any], path: str) -> None:
    assert (
        (path in paths("RequestAuthentication", **spec)) if path else (paths("RequestAuthentication", **spec) == set())
    )


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"mtls": {"mode": "STRICT"}}, ""),
        ({"selector": {"matchLabels": {"app": "a"}}, "portLevelMtls": {80: {"mode": "DISABLE"}}}, ""),
        ({"portLevelMtls": {"80": {"mode": "DISABLE"}}}, "portLevelMtls"),
        ({"selector": {"matchLabels": {"app": "a"}}, "portLevelMtls": {"80": {}}}, "portLevelMtls.80.mode"),
        ({"selector": {"matchLabels": {"app": "a"}}, "portLevelMtls": {"0": {"mode": "STRICT"}}}, "portLevelMtls.0"),
        ({"mtls": {"mode": "SOMETIMES"}}, "mtls.mode"),
    ],
)
def test_peer_authentication(spec: dict[str, Any], path: str) -> None:
    assert (path in paths("PeerAuthentication", **spec)) if path else (paths("PeerAuthentication", **spec) == set())


def test_each_kind_belongs_to_its_api_group() -> None:
    policy = document("AuthorizationPolicy", "p", {})
    assert policy["apiVersion"] == "security.istio.io/v1"
    assert to_document(parse_document(policy, "x"))["apiVersion"] == "security.istio.io/v1"
    for version in ("networking.istio.io/v1", "security.istio.io/v1alpha3"):
        with pytest.raises(DocumentError) as refused:
            parse_document(policy | {"apiVersion": version}, "x")
        assert [problem.path for problem in refused.value.problems] == ["apiVersion"]
