"""Gateways of the Gateway API: listeners, whom they let in, classes, grants, and what is said of all of them."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.admin.render import conditions, unattached
from isthmus_controlplane.model.admission import Admission
from isthmus_controlplane.model.document import DocumentError, parse_document, to_document
from isthmus_controlplane.model.kinds import find_kind
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, document, make, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.supplement.secret_names import secret_names_of
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.translation import LISTENER_TYPE, ROUTE_TYPE

KIND = "Gateway.gateway.networking.k8s.io"
GROUP = "gateway.networking.k8s.io"
LABELS = (("gateway.networking.k8s.io/gateway-name", "edge"),)
EDGE = Scope(kind="gateway", labels=LABELS)
SERVICES = [
    service("reviews.default.svc.cluster.local", "v1", name="reviews"),
    make("ServiceEntry", "ratings", {
        "hosts": ["ratings.team.svc.cluster.local"], "resolution": "STATIC", "endpoints": [{"address": "10.0.0.9"}],
        "ports": [{"number": 8080, "name": "main", "protocol": "HTTP"}],
    }, "team"),
]  # fmt: skip


def listener(name: str = "http", port: int = 80, protocol: str = "HTTP", **fields: Any) -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": protocol} | fields


def secure(name: str, hostname: str, secret: str = "shop", **fields: Any) -> dict[str, Any]:
    return listener(name, 443, "HTTPS", hostname=hostname, tls={"certificateRefs": [{"name": secret}]}) | fields


def gateway(*listeners: dict[str, Any], of: str = "istio", namespace: str = "default") -> ConfigObject:
    return make(KIND, "edge", {"gatewayClassName": of, "listeners": list(listeners) or [listener()]}, namespace)


def route(*hosts: str, namespace: str = "default", parent: dict[str, Any] | None = None) -> ConfigObject:
    refs = [{"name": "edge", "namespace": "default"} | (parent or {})]
    backends = [{"name": "reviews", "port": 8080}]
    spec = {"parentRefs": refs, "hostnames": list(hosts), "rules": [{"backendRefs": backends}]}
    return make("HTTPRoute", "route", spec, namespace)


def hosts_at(admission: Admission, scope: Scope = EDGE) -> dict[str, set[str]]:
    """The hosts that are served, by route configuration."""
    found = translate(admission.model, scope).messages.get(ROUTE_TYPE, {})
    return {name: {host.domains[0] for host in made.virtual_hosts} for name, made in found.items()}  # type: ignore[attr-defined]


def reason(route: ConfigObject, *objects: ConfigObject) -> str:
    return admitted([*SERVICES, *objects, route]).attached[route.key].accepted[0]


@pytest.mark.parametrize(
    ("hostname", "hosts", "served"),
    [
        ("", [], {"*"}),
        ("", ["a.example"], {"a.example"}),
        ("*.example", ["a.example", "b.other"], {"a.example"}),
        ("*.example", ["*.b.example"], {"*.b.example"}),
        ("*.b.example", ["*.example"], {"*.b.example"}),
        ("a.example", ["*.example"], {"a.example"}),
        ("*.example", [], {"*.example"}),
        ("*.example", ["a.b.example"], {"a.b.example"}),
    ],
)
def test_a_route_has_the_hosts_that_it_shares_with_its_listener(
    hostname: str, hosts: list[str], served: set[str]
) -> None:
    admission = admitted([*SERVICES, gateway(listener(hostname=hostname)), route(*hosts)])
    assert hosts_at(admission) == {"http.80": served}
    assert not admission.problems


@pytest.mark.parametrize("hosts", [["example"], ["a.other"], ["*.other"]])
def test_hosts_that_no_listener_has(hosts: list[str]) -> None:
    assert reason(route(*hosts), gateway(listener(hostname="*.example"))) == "NoMatchingListenerHostname"


def allowed(**namespaces: Any) -> dict[str, Any]:
    return {"allowedRoutes": {"namespaces": namespaces}}


def named(*namespaces: str) -> dict[str, Any]:
    key = "kubernetes.io/metadata.name"
    return {"selector": {"matchExpressions": [{"key": key, "operator": "In", "values": list(namespaces)}]}}


@pytest.mark.parametrize(
    ("fields", "let_in"),
    [
        ({}, {"default"}),
        (allowed(**{"from": "Same"}), {"default"}),
        (allowed(**{"from": "All"}), {"default", "team", "other"}),
        (allowed(**{"from": "None"}), set()),
        (allowed(**{"from": "Selector"}, **named("team", "other")), {"team", "other"}),
        (allowed(**{"from": "Selector"}, selector={"matchLabels": {"kubernetes.io/metadata.name": "team"}}), {"team"}),
    ],
)
def test_namespaces_that_a_listener_lets_in(fields: dict[str, Any], let_in: set[str]) -> None:
    for namespace in ("default", "team", "other"):
        wanted = "" if namespace in let_in else "NotAllowedByListeners"
        assert reason(route(namespace=namespace), gateway(listener(**fields))) == wanted


@pytest.mark.parametrize(
    ("parent", "served"),
    [
        ({}, {"http.80": {"*.example"}, "http.81": {"*"}}),
        ({"sectionName": "one"}, {"http.80": {"*.example"}, "http.81": set()}),
        ({"port": 81}, {"http.80": set(), "http.81": {"*"}}),
        ({"sectionName": "two", "port": 81}, {"http.80": set(), "http.81": {"*"}}),
    ],
)
def test_a_route_may_name_one_listener(parent: dict[str, Any], served: dict[str, set[str]]) -> None:
    edge = gateway(listener("one", hostname="*.example"), listener("two", 81))
    assert hosts_at(admitted([*SERVICES, edge, route(parent=parent)])) == served


@pytest.mark.parametrize("parent", [{"sectionName": "three"}, {"port": 82}, {"sectionName": "one", "port": 81}])
def test_a_listener_that_is_not_there(parent: dict[str, Any]) -> None:
    assert reason(route(parent=parent), gateway(listener("one"), listener("two", 81))) == "NoMatchingParent"


def test_listeners_of_one_port_are_told_apart_by_name() -> None:
    """What is attached to the wide one is not served by the narrow one, though its host lies there."""
    edge = gateway(secure("wide", "*.example"), secure("narrow", "a.example", "other"))
    admission = admitted([*SERVICES, edge, route("a.example", parent={"sectionName": "wide"})])
    assert hosts_at(admission) == {
        "https.443.wide.edge.default": {"a.example"}, "https.443.narrow.edge.default": set(),
    }  # fmt: skip
    made: Any = translate(admission.model, EDGE).messages[LISTENER_TYPE]["0.0.0.0_443"]
    assert secret_names_of(made) == {"shop", "other"}
    assert [list(chain.filter_chain_match.server_names) for chain in made.filter_chains] == [
        ["*.example"],
        ["a.example"],
    ]


@pytest.mark.parametrize(
    "scope",
    [Scope(kind="gateway"), Scope(kind="gateway", namespace="team", labels=LABELS), Scope(labels=LABELS)],
    ids=["another gateway", "another namespace", "a sidecar"],
)
def test_only_the_proxies_of_a_gateway_open_it(scope: Scope) -> None:
    admission = admitted([*SERVICES, gateway(), route("a.example")])
    assert "http.80" not in hosts_at(admission, scope)


def test_an_address_is_where_it_listens() -> None:
    spec = {"gatewayClassName": "istio", "listeners": [listener()], "addresses": [{"value": "10.0.0.1"}]}
    made = translate(admitted([*SERVICES, make(KIND, "edge", spec)]).model, EDGE).messages[LISTENER_TYPE]
    assert list(made) == ["10.0.0.1_80"]


def test_a_gateway_of_istio_may_have_the_same_name() -> None:
    server = {"port": {"number": 90, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    other = make("Gateway", "edge", {"selector": dict(LABELS), "servers": [server]})
    assert hosts_at(admitted([*SERVICES, gateway(), other, route("a.example")])) == {
        "http.80": {"a.example"}, "http.90": set()
    }  # fmt: skip
    bound = make("VirtualService", "v", {"hosts": ["b.example"], "gateways": ["edge"], "http": [
        {"route": [{"destination": {"host": "reviews"}}]},
    ]})  # fmt: skip
    assert hosts_at(admitted([*SERVICES, gateway(), other, bound])) == {"http.80": set(), "http.90": {"b.example"}}


def class_of(controller: str, name: str = "mine") -> ConfigObject:
    return make("GatewayClass", name, {"controllerName": controller, "description": "x"})


@pytest.mark.parametrize(
    ("of", "classes", "taken"),
    [
        ("istio", [], True),
        ("isthmus", [], True),
        ("mine", [], False),
        ("mine", [class_of("isthmus.io/gateway-controller")], True),
        ("mine", [class_of("istio.io/gateway-controller")], True),
        ("mine", [class_of("example.net/other")], False),
        ("istio", [class_of("example.net/other", "istio")], False),
    ],
)
def test_a_gateway_is_carried_out_if_its_class_is(of: str, classes: list[ConfigObject], taken: bool) -> None:
    edge = gateway(of=of)
    admission = admitted([*SERVICES, edge, *classes, route("a.example")])
    assert ("http.80" in hosts_at(admission)) == taken
    found = conditions([], str(edge.key), admission.attached[edge.key])
    assert [(each["type"], each["status"]) for each in found] == [("Accepted", str(taken)), ("Programmed", str(taken))]
    wanted = [] if taken else [(str(edge.key), ["spec.gatewayClassName"])]
    named = [
        (each["object"], each["paths"]) for each in unattached(admission.attached) if each["object"] == str(edge.key)
    ]
    assert named == wanted
    assert [each.path for each in admission.problems if str(edge.key) in each.origin] == [path for _, (path,) in wanted]


def test_what_clients_reject_is_not_programmed() -> None:
    edge = gateway()
    rejected = [
        {"client": "c", "type": "t", "resources": ["r"], "message": "no", "causes": [], "objects": [str(edge.key)]}
    ]
    found = conditions(rejected, str(edge.key), admitted([edge]).attached[edge.key])
    assert [(each["type"], each["status"]) for each in found] == [("Accepted", "False"), ("Programmed", "False")]


def to_ratings() -> ConfigObject:
    backend = {"name": "ratings", "namespace": "team", "port": 8080}
    spec = {"parentRefs": [{"name": "edge"}], "hostnames": ["a.example"], "rules": [{"backendRefs": [backend]}]}
    return make("HTTPRoute", "route", spec)


def grant(name: str = "", namespace: str = "team", kind: str = "HTTPRoute", whom: str = "default") -> ConfigObject:
    to = {"group": "", "kind": "Service"} | ({"name": name} if name else {})
    return make(
        "ReferenceGrant", "grant", {"from": [{"group": GROUP, "kind": kind, "namespace": whom}], "to": [to]}, namespace
    )


@pytest.mark.parametrize(
    ("grants", "wanted"),
    [
        ([], "RefNotPermitted"),
        ([grant()], ""),
        ([grant("ratings")], ""),
        ([grant("reviews")], "RefNotPermitted"),
        ([grant(namespace="other")], "RefNotPermitted"),
        ([grant(kind="GRPCRoute")], "RefNotPermitted"),
        ([grant(whom="other")], "RefNotPermitted"),
    ],
)
def test_a_backend_of_another_namespace_needs_a_grant(grants: list[ConfigObject], wanted: str) -> None:
    asking = to_ratings()
    admission = admitted([*SERVICES, gateway(), *grants, asking])
    resolved = admission.attached[asking.key].resolved
    assert resolved is not None
    assert resolved[0] == wanted
    made: Any = translate(admission.model, EDGE).messages[ROUTE_TYPE]["http.80"]
    (only,) = made.virtual_hosts[0].routes
    assert ("ratings.team" in str(only.route)) == (not wanted)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"listeners": []}, "listeners"),
        ({"gatewayClassName": ""}, "gatewayClassName"),
        ({"listeners": [listener(protocol="TCP")]}, "listeners[0].protocol"),
        ({"listeners": [listener(protocol="TLS")]}, "listeners[0].protocol"),
        ({"listeners": [listener(hostname="10.0.0.1:80")]}, "listeners[0].hostname"),
        ({"listeners": [listener(port=0)]}, "listeners[0].port"),
        ({"listeners": [listener(tls={"mode": "Terminate"})]}, "listeners[0].tls"),
        ({"listeners": [listener(protocol="HTTPS")]}, "listeners[0].tls.certificateRefs"),
        ({"listeners": [secure("a", "a.example", tls={"mode": "Passthrough", "certificateRefs": [{"name": "a"}]})]},
         "listeners[0].tls.mode"),
        ({"listeners": [secure("a", "a.example", tls={"certificateRefs": [{"name": "a", "namespace": "b"}]})]},
         "listeners[0].tls.certificateRefs[0].namespace"),
        ({"listeners": [secure("a", "a.example", tls={"certificateRefs": [{"kind": "ConfigMap", "name": "a"}]})]},
         "listeners[0].tls.certificateRefs[0].kind"),
        ({"listeners": [listener(), listener(port=81)]}, "listeners[1].name"),
        ({"listeners": [listener(), listener("b")]}, "listeners[1].hostname"),
        ({"listeners": [listener(), secure("b", "b.example", port=80)]}, "listeners[1].protocol"),
        ({"listeners": [listener(allowedRoutes={"kinds": [{"kind": "HTTPRoute"}]})]}, "listeners[0].allowedRoutes.kinds"),
        ({"listeners": [listener(**allowed(**{"from": "Some"}))]}, "listeners[0].allowedRoutes.namespaces.from"),
        ({"listeners": [listener(**allowed(**{"from": "Selector"}))]}, "listeners[0].allowedRoutes.namespaces.selector"),
        ({"listeners": [listener(**allowed(**{"from": "Selector"}, selector={"matchLabels": {"a": "b"}}))]},
         "listeners[0].allowedRoutes.namespaces.selector.matchLabels.a"),
        ({"addresses": [{"value": "10.0.0.1"}, {"value": "10.0.0.2"}]}, "addresses"),
        ({"addresses": [{"value": "a.example"}]}, "addresses[0].value"),
        ({"addresses": [{"type": "Hostname", "value": "a.example"}]}, "addresses[0].type"),
        ({"infrastructure": {"labels": {}}}, "infrastructure"),
    ],
)  # fmt: skip
def test_what_a_gateway_may_not_say(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(DocumentError) as caught:
        make(KIND, "edge", {"gatewayClassName": "istio", "listeners": [listener()]} | spec)
    assert f"spec.{path}" in [each.path for each in caught.value.problems]


@pytest.mark.parametrize(
    ("kind", "spec", "path"),
    [
        ("GatewayClass", {"controllerName": "me"}, "spec.controllerName"),
        ("ReferenceGrant", {"from": [], "to": [{"kind": "Service"}]}, "spec.from"),
        ("ReferenceGrant", {"from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "a"}]}, "spec.to"),
        ("ReferenceGrant", {"from": [{"group": GROUP, "kind": "Gateway", "namespace": "a"}], "to": [{"kind": "Secret"}]},
         "spec.to[0].kind"),
        ("HTTPRoute", {"parentRefs": [{"group": "", "kind": "Service", "name": "a", "sectionName": "b"}], "rules": [{}]},
         "spec.parentRefs[0].sectionName"),
    ],
)  # fmt: skip
def test_what_the_others_may_not_say(kind: str, spec: dict[str, Any], path: str) -> None:
    with pytest.raises(DocumentError) as caught:
        make(kind, "x", spec)
    assert path in [each.path for each in caught.value.problems]


def test_two_kinds_share_a_name_and_are_told_apart_by_their_version() -> None:
    edge = gateway()
    assert (edge.key.kind, to_document(edge)["kind"], to_document(edge)["apiVersion"]) == (
        KIND,
        "Gateway",
        f"{GROUP}/v1",
    )
    assert parse_document(to_document(edge), edge.origin) == edge
    for text, wanted in (
        ("gateway", "Gateway"),
        ("gateways.gateway.networking.k8s.io", KIND),
        ("gatewayclasses", "GatewayClass"),
    ):
        kind = find_kind(text)
        assert kind is not None
        assert kind.name == wanted
    with pytest.raises(DocumentError) as caught:
        parse_document(document(KIND, "edge", {}) | {"apiVersion": "v1"}, "x")
    assert "networking.istio.io/v1" in str(caught.value)
    assert f"{GROUP}/v1" in str(caught.value)
