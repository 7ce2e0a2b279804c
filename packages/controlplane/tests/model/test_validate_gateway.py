"""Rules of Gateway, and of VirtualServices that are bound to one."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.gateway import narrower
from isthmus_controlplane.model.testing import admitted, make, service

HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}
HTTPS = {"number": 443, "name": "https", "protocol": "HTTPS"}
TLS = {"number": 443, "name": "tls", "protocol": "TLS"}
PAIR = {"serverCertificate": "/c.pem", "privateKey": "/k.pem"}


def paths(kind: str = "Gateway", **spec: Any) -> set[str]:
    try:
        make(kind, "g", spec)
    except DocumentError as error:
        return {problem.path.removeprefix("spec.") for problem in error.problems}
    return set()


def server(port: dict[str, Any], tls: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"servers": [{"port": port, "hosts": ["*"]} | ({"tls": tls} if tls is not None else {}) | fields]}


@pytest.mark.parametrize(
    "spec",
    [
        server(HTTP, hosts=["*", "*.shop", "./a.shop", "*/b.shop", "ns/*"]),
        server(HTTP, {"httpsRedirect": True}, bind="127.0.0.1"),
        server(HTTPS, {"mode": "SIMPLE", "minProtocolVersion": "TLSV1_2"} | PAIR),
        server(HTTPS, {"mode": "SIMPLE", "tlsCertificates": [PAIR, PAIR]}),
        server(TLS, {"mode": "MUTUAL", "caCertificates": "/ca.pem", "subjectAltNames": ["a"]} | PAIR),
        server(TLS, {"mode": "PASSTHROUGH"}),
        server(HTTPS, {"mode": "SIMPLE", "credentialName": "shop-tls"}),
        server(HTTPS, {"mode": "MUTUAL", "credentialName": "shop-tls"}),
        server({"number": 3306, "name": "db", "protocol": "TCP"}),
        {"selector": {"istio": "ingressgateway"}} | server(HTTP),
    ],
)
def test_good(spec: dict[str, Any]) -> None:
    assert paths(**spec) == set()


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, "servers"),
        (server(HTTP | {"protocol": "UDP"}), "servers[0].port.protocol"),
        (server(HTTP | {"number": 0}), "servers[0].port.number"),
        (server(HTTP | {"name": ""}), "servers[0].port.name"),
        (server(HTTP, hosts=[]), "servers[0].hosts"),
        (server(HTTP, hosts=["a/b/c"]), "servers[0].hosts[0]"),
        (server(HTTP, hosts=["a*"]), "servers[0].hosts[0]"),
        (server(HTTP, bind="localhost"), "servers[0].bind"),
        (server(HTTP, defaultEndpoint="127.0.0.1:1"), "servers[0].defaultEndpoint"),
        (server(HTTP, {"mode": "SIMPLE"}), "servers[0].tls.mode"),
        (server(HTTPS), "servers[0].tls"),
        (server(HTTPS, {"mode": "SIMPLE"}), "servers[0].tls.serverCertificate"),
        (server(HTTPS, {"mode": "SIMPLE", "credentialName": "kubernetes://a"}), "servers[0].tls.credentialName"),
        (server(HTTPS, {"mode": "SIMPLE", "credentialName": "a"} | PAIR), "servers[0].tls.privateKey"),
        (server(HTTPS, {"mode": "SIMPLE", "credentialNames": ["a"]}), "servers[0].tls.credentialNames"),
        (server(HTTPS, {"mode": "MUTUAL"} | PAIR), "servers[0].tls.caCertificates"),
        (server(HTTPS, {"mode": "SIMPLE", "caCertificates": "/ca.pem"} | PAIR), "servers[0].tls.caCertificates"),
        (server(HTTPS, {"mode": "SIMPLE", "tlsCertificates": [PAIR]} | PAIR), "servers[0].tls.tlsCertificates"),
        (server(HTTPS, {"mode": "SIMPLE", "tlsCertificates": [{}]}), "servers[0].tls.tlsCertificates[0].privateKey"),
        (server(HTTPS, {"mode": "SIMPLE", "httpsRedirect": True} | PAIR), "servers[0].tls.httpsRedirect"),
        (
            server(HTTPS, {"mode": "SIMPLE", "minProtocolVersion": "TLSV1_1"} | PAIR),
            "servers[0].tls.minProtocolVersion",
        ),
        (server(TLS, {"mode": "PASSTHROUGH"} | PAIR), "servers[0].tls.serverCertificate"),
        (server(TLS, {"mode": "AUTO_PASSTHROUGH"}), "servers[0].tls.mode"),
        (
            server({"number": 1, "name": "a", "protocol": "TCP"}, {"httpsRedirect": True}),
            "servers[0].tls.httpsRedirect",
        ),
        ({"servers": server(HTTP)["servers"] * 2}, "servers[1].port.name"),
    ],
)
def test_bad(spec: dict[str, Any], path: str) -> None:
    assert path in paths(**spec)


TO = [{"destination": {"host": "a.shop"}}]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"hosts": ["*"], "gateways": ["g", "other/g"], "http": [{"route": TO}]}, ""),
        ({"hosts": ["*.shop"], "gateways": ["g"], "tls": [{"match": [{"sniHosts": ["a.shop", "*.b.shop"]}], "route": TO}]}, ""),
        ({"hosts": ["*"], "gateways": ["g", "mesh"], "http": [{"route": TO}]}, "hosts[0]"),
        ({"hosts": ["*.shop"], "http": [{"route": TO}]}, "hosts[0]"),
        ({"hosts": ["a.shop"], "gateways": ["a b/g"], "http": [{"route": TO}]}, "gateways[0]"),
        ({"hosts": ["a.shop"], "gateways": ["g"], "tls": [{"match": [{"sniHosts": []}], "route": TO}]}, "tls[0].match[0].sniHosts"),
        ({"hosts": ["a.shop"], "gateways": ["g"], "tls": [{"match": [{"sniHosts": ["b.shop"]}], "route": TO}]},
         "tls[0].match[0].sniHosts[0]"),
        ({"hosts": ["a.shop"], "gateways": ["g"], "tls": [{"match": [{"sniHosts": ["a.shop"]}]}]}, "tls[0].route"),
        ({"hosts": ["a.shop"], "gateways": ["g"], "tls": [{"match": [{"destinationSubnets": ["::/0"]}], "route": TO}]},
         "tls[0].match[0].destinationSubnets"),
    ],
)  # fmt: skip
def test_virtual_services(spec: dict[str, Any], path: str) -> None:
    found = paths("VirtualService", **spec)
    assert (path in found) if path else (found == set())


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("*", "a.shop", "a.shop"), ("a.shop", "*.shop", "a.shop"), ("*.shop", "*.b.shop", "*.b.shop"), ("*", "*", "*"),
        ("a.shop", "b.shop", None), ("*.shop", "shop", None), ("*.a.shop", "*.b.shop", None),
    ],
)  # fmt: skip
def test_hosts_that_overlap(first: str, second: str, both: str | None) -> None:
    assert narrower(first, second) == both
    assert narrower(second, first) == both


def route(*gateways: str, host: str = "a.shop", to: str = "a.shop") -> Any:
    return make(
        "VirtualService",
        "r",
        {"hosts": [host], "gateways": list(gateways), "http": [{"route": [{"destination": {"host": to}}]}]},
    )


def test_a_gateway_that_does_not_exist_is_reported() -> None:
    gateway = make("Gateway", "g", server(HTTP))
    objects = [service("a.shop"), gateway]
    assert admitted([*objects, route("g", "mesh")]).problems == ()
    (problem,) = admitted([*objects, route("g", "other/g")]).problems
    assert (problem.path, "other/g" in problem.message) == ("spec.gateways[1]", True)


def test_hosts_of_a_gateway_need_no_service() -> None:
    objects = [service("a.shop"), make("Gateway", "g", server(HTTP))]
    assert admitted([*objects, route("g", host="public.example")]).problems == ()
    (problem,) = admitted([*objects, route("g", "mesh", host="public.example")]).problems
    assert problem.path == "spec.hosts[0]"


def test_a_destination_with_several_ports_has_to_say_which_one() -> None:
    ports = [{"number": number, "name": f"p{number}", "protocol": "HTTP"} for number in (80, 81)]
    objects = [service("a.shop", ports=ports), make("Gateway", "g", server(HTTP))]
    admission = admitted([*objects, route("g", host="public.example")])
    assert [problem.path for problem in admission.problems] == ["spec.http[0].route[0].destination.port.number"]
    assert admission.model.bindings == {}
