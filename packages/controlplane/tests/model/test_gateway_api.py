"""HTTPRoute and GRPCRoute: which route takes a request, what it does, where it is attached, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_controlplane.admin.render import conditions, unattached
from isthmus_controlplane.model.admission import Admission
from isthmus_controlplane.model.composed import Place, place_of
from isthmus_controlplane.model.document import DocumentError, to_document
from isthmus_controlplane.model.kinds import find_kind
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, service, virtual_service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.names import UNRESOLVED_CLUSTER
from isthmus_controlplane.translate.routing import Request, taken_by
from isthmus_controlplane.translate.translation import ROUTE_TYPE

REVIEWS, RATINGS = "reviews.shop", "ratings.shop"
LOCAL = "details.default.svc.cluster.local"
SERVICES = [service(REVIEWS, "v1"), service(RATINGS, "v1"), service(LOCAL, "v1", name="details")]
ISTIO = "networking.istio.io"
EDGE = {"group": ISTIO, "kind": "Gateway", "name": "edge"}
DETAILS = {"group": "", "kind": "Service", "name": "details"}
GATEWAY_SCOPE = Scope(kind="gateway", labels=(("istio", "edge"),))


def gateway(*hosts: str, **port: Any) -> ConfigObject:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"} | port, "hosts": list(hosts) or ["*"]}
    return make("Gateway", "edge", {"selector": {"istio": "edge"}, "servers": [server]})


def to(host: str = REVIEWS, **fields: Any) -> dict[str, Any]:
    return {"group": ISTIO, "kind": "Hostname", "name": host, "port": 8080} | fields


def route(*rules: Mapping[str, Any], name: str = "route", namespace: str = "default", **spec: Any) -> ConfigObject:
    listed = [{"backendRefs": [to()]} | dict(each) for each in rules]
    return make("HTTPRoute", name, {"parentRefs": [EDGE], "rules": listed} | spec, namespace)


def grpc_route(*rules: Mapping[str, Any], name: str = "grpc", **spec: Any) -> ConfigObject:
    listed = [{"backendRefs": [to()]} | dict(each) for each in rules]
    return make("GRPCRoute", name, {"parentRefs": [EDGE], "rules": listed} | spec)


def path(value: str, kind: str = "PathPrefix", **more: Any) -> dict[str, Any]:
    return {"path": {"type": kind, "value": value}} | more


def headers(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def hosts_at(admission: Admission, scope: Scope = GATEWAY_SCOPE, name: str = "http.80") -> dict[str, list[Any]]:
    made: Any = translate(admission.model, scope).messages[ROUTE_TYPE][name]
    return {host.name: list(host.routes) for host in made.virtual_hosts}


def at_edge(*objects: ConfigObject) -> list[Any]:
    (found,) = hosts_at(admitted([*SERVICES, gateway(), *objects])).values()
    return found


def in_mesh(*objects: ConfigObject, host: str = LOCAL, namespace: str = "default") -> list[Any]:
    admission = admitted([*SERVICES, *objects])
    return hosts_at(admission, Scope(namespace=namespace), "8080")[f"{host}:8080"]


def taken(routes: list[Any], request: Request) -> str:
    found = list(taken_by(routes, request))
    return str(found[0].route.name) if found else ""


def problems(admission: Admission) -> list[tuple[str, str]]:
    return [(each.origin.partition(" ")[2], each.path) for each in admission.problems]


def test_the_kinds_are_found_as_people_type_them() -> None:
    assert [kind and kind.name for kind in map(find_kind, ("httproutes", "GRPCRoute"))] == ["HTTPRoute", "GRPCRoute"]
    written = to_document(route({}))
    assert written["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert written["spec"]["parentRefs"] == [EDGE]


def test_a_prefix_takes_whole_segments() -> None:
    routes = at_edge(route({"name": "a", "matches": [path("/a/")]}))
    wanted = {"/a": "a", "/a/": "a", "/a/b": "a", "/a?b=c": "a", "/ab": "", "/": ""}
    assert {target: taken(routes, Request("x", target)) for target in wanted} == wanted


def test_the_first_of_two_headers_of_one_name_counts() -> None:
    match = {"headers": [*headers(x="1"), {"name": "X", "value": "2"}], "queryParams": headers(q="1")}
    routes = at_edge(route({"name": "a", "matches": [match]}))
    assert taken(routes, Request("x", "/?q=1", headers={"x": "1"})) == "a"
    assert taken(routes, Request("x", "/?q=1", headers={"x": "2"})) == ""
    assert taken(routes, Request("x", "/?q=2", headers={"x": "1"})) == ""


def test_precedence_over_all_routes_of_a_host() -> None:
    first = route(
        {"name": "regex", "matches": [path("/a/.*", "RegularExpression")]},
        {"name": "all"},
        {"name": "short", "matches": [path("/a")]},
    )
    second = route(
        {"name": "query", "matches": [path("/a/b", queryParams=headers(q="1"))]},
        {"name": "two", "matches": [path("/a/b", headers=headers(x="1", y="1"))]},
        {"name": "one", "matches": [path("/a/b", headers=headers(x="1"))]},
        {"name": "post", "matches": [path("/a/b", method="POST")]},
        {"name": "long", "matches": [path("/a/b")]},
        {"name": "exact", "matches": [path("/a/b", "Exact")]},
        name="second",
    )
    routes = at_edge(first, second)
    for target, method, given_headers, name in (
        ("/a/b?q=1", "POST", {"x": "1", "y": "1"}, "exact"),
        ("/a/b/c?q=1", "POST", {"x": "1", "y": "1"}, "post"),
        ("/a/b/c?q=1", "GET", {"x": "1", "y": "1"}, "two"),
        ("/a/b/c?q=1", "GET", {"x": "1"}, "one"),
        ("/a/b/c?q=1", "GET", {}, "query"),
        ("/a/b/c", "GET", {}, "long"),
        ("/a/c", "GET", {}, "short"),
        ("/b", "GET", {}, "all"),
    ):
        assert taken(routes, Request("x", target, method, given_headers)) == name


def test_of_equals_the_older_route_and_the_earlier_rule_come_first() -> None:
    only = {"matches": [path("/a")]}
    routes = at_edge(route(only | {"name": "b"}, only | {"name": "c"}, name="b"), route(only | {"name": "a"}, name="a"))
    routes = [each for each in routes if each.match.path]
    assert [each.name for each in routes] == ["a", "b", "c"], "without times the names decide"


def test_methods_of_grpc() -> None:
    routes = at_edge(
        grpc_route(
            {"name": "any"},
            {"name": "method", "matches": [{"method": {"method": "Get"}}]},
            {"name": "service", "matches": [{"method": {"service": "shop.Reviews"}}]},
            {"name": "both", "matches": [{"method": {"service": "shop.Reviews", "method": "Get"}}]},
            {"name": "header", "matches": [{"method": {"service": "shop.Reviews"}, "headers": headers(x="1")}]},
            {"name": "regex", "matches": [{"method": {"type": "RegularExpression", "service": "long[.].*"}}]},
        )
    )
    for target, given_headers, name in (
        ("/shop.Reviews/Get", {}, "both"),
        ("/shop.Reviews/Put", {}, "service"),
        ("/shop.Reviews/Put", {"x": "1"}, "header"),
        ("/other/Get", {}, "method"),
        ("/other/Gets", {}, "any"),
        ("/long.Service/Put", {}, "regex"),
    ):
        assert taken(routes, Request("x", target, "POST", given_headers)) == name


def test_shares_and_headers_of_backends() -> None:
    modifier = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers(a="100%"), "remove": ["b"]}}
    answer = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": headers(c="1")}}
    rule = {
        "backendRefs": [to(weight=3, filters=[modifier]), to(RATINGS), to(RATINGS, weight=0)],
        "filters": [answer],
        "timeouts": {"request": "3s", "backendRequest": "500ms"},
    }
    (made,) = at_edge(route(rule))
    shares = made.route.weighted_clusters.clusters
    assert [(each.name.rpartition("|")[2], each.weight.value) for each in shares] == [(REVIEWS, 3), (RATINGS, 1)]
    assert shares[0].request_headers_to_add[0].header.value == "100%%"
    assert list(shares[0].request_headers_to_remove) == ["b"]
    assert made.response_headers_to_add[0].header.key == "c"
    assert made.route.timeout.seconds == 3
    assert made.route.retry_policy.per_try_timeout.ToMilliseconds() == 500


@pytest.mark.parametrize(
    ("modifier", "expected"),
    [
        ({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new/"}, ("/new", "/new/")),
        ({"type": "ReplacePrefixMatch", "replacePrefixMatch": ""}, ("/", "/")),
        ({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}, ("/", "/")),
    ],
)
def test_a_prefix_is_replaced_without_doubling_or_losing_slashes(
    modifier: dict[str, Any], expected: tuple[str, str]
) -> None:
    rewrite = {"type": "URLRewrite", "urlRewrite": {"hostname": "inner.shop", "path": modifier}}
    whole, below = at_edge(route({"matches": [path("/old")], "filters": [rewrite]}))
    assert (whole.route.prefix_rewrite, below.route.prefix_rewrite) == expected
    assert whole.route.host_rewrite_literal == "inner.shop"
    redirect = {"type": "RequestRedirect", "requestRedirect": {"path": modifier}}
    whole, below = at_edge(route({"matches": [path("/old")], "filters": [redirect], "backendRefs": []}))
    assert (whole.redirect.path_redirect, below.redirect.prefix_rewrite) == expected
    assert whole.redirect.response_code == below.redirect.response_code == 1  # 302


def test_a_whole_path_is_replaced() -> None:
    modifier = {"type": "ReplaceFullPath", "replaceFullPath": "/n\\1"}
    (made,) = at_edge(route({"filters": [{"type": "URLRewrite", "urlRewrite": {"path": modifier}}]}))
    assert (made.route.regex_rewrite.pattern.regex, made.route.regex_rewrite.substitution) == ("/.*", "/n\\\\1")


@pytest.mark.parametrize(
    ("given_port", "expected"),
    [({}, ("", 80)), ({"scheme": "https"}, ("https", 0)), ({"scheme": "https", "port": 8443}, ("https", 8443))],
)
def test_the_port_of_a_redirect(given_port: dict[str, Any], expected: tuple[str, int]) -> None:
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "new.shop", "statusCode": 301} | given_port}
    (made,) = at_edge(route({"filters": [redirect], "backendRefs": []}))
    assert (made.redirect.scheme_redirect, made.redirect.port_redirect) == expected
    assert made.redirect.host_redirect == "new.shop"


def test_copies_of_requests() -> None:
    def mirror(**share: Any) -> dict[str, Any]:
        return {"type": "RequestMirror", "requestMirror": {"backendRef": to(RATINGS)} | share}

    filters = [mirror(), mirror(percent=25), mirror(fraction={"numerator": 1, "denominator": 1000}), mirror(percent=0)]
    (made,) = at_edge(route({"filters": filters}))
    shares = [each.runtime_fraction.default_value for each in made.route.request_mirror_policies]
    assert [each.numerator / (100, 10_000, 1_000_000)[each.denominator] for each in shares] == [1, 0.25, 0.001]


def test_who_is_not_known_is_answered_for_with_500() -> None:
    made = route(
        {"backendRefs": [to("nowhere.shop"), to()], "matches": [path("/a", "Exact")]},
        {"name": "none", "backendRefs": [], "matches": [path("/b", "Exact")]},
        {"backendRefs": [to(weight=0)]},
    )
    admission = admitted([*SERVICES, gateway(), made])
    first, second, third = hosts_at(admission)["*:80"]
    assert [each.name for each in first.route.weighted_clusters.clusters] == [
        UNRESOLVED_CLUSTER,
        f"outbound|8080||{REVIEWS}",
    ]
    assert first.route.cluster_not_found_response_code == 2
    assert second.direct_response.status == third.direct_response.status == 500
    assert problems(admission) == [(f"({made.key})", "spec.rules[0].backendRefs[0]")]
    assert admission.held == frozenset(), "the others of its routes are in use"
    accepted, resolved = conditions([], str(made.key), admission.attached[made.key])
    assert (accepted["status"], resolved["status"], resolved["reason"]) == ("True", "False", "BackendNotFound")
    (shown,) = unattached(admission.attached)
    assert (shown["type"], shown["paths"]) == ("ResolvedRefs", ["spec.rules[0].backendRefs[0]"])


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (DETAILS | {"port": 8080}, ""),
        (DETAILS | {"port": 81}, "BackendNotFound"),
        (DETAILS | {"port": 8080, "namespace": "other"}, "RefNotPermitted"),
        (DETAILS | {"port": 8080, "name": "nobody"}, "BackendNotFound"),
        (to(REVIEWS.upper()), ""),
    ],
)
def test_backends(reference: dict[str, Any], reason: str) -> None:
    made = route({"backendRefs": [reference]})
    admission = admitted([*SERVICES, gateway(), made])
    resolved = admission.attached[made.key].resolved
    assert resolved is not None
    assert resolved[0] == reason
    assert (hosts_at(admission)["*:80"][0].route.cluster == UNRESOLVED_CLUSTER) == bool(reason)


@pytest.mark.parametrize(
    ("hostnames", "served", "reason"),
    [
        ([], ["*.example:80"], ""),
        (["a.example", "b.example"], ["a.example:80", "b.example:80"], ""),
        (["*.b.example", "other.shop"], ["*.b.example:80"], ""),
        (["other.shop"], [], "NoMatchingListenerHostname"),
    ],
)
def test_hosts_are_those_that_gateway_and_route_share(hostnames: list[str], served: list[str], reason: str) -> None:
    made = route({}, hostnames=hostnames)
    admission = admitted([*SERVICES, gateway("*.example"), made])
    assert list(hosts_at(admission)) == served
    assert admission.attached[made.key].accepted[0] == reason


@pytest.mark.parametrize(
    ("edge", "parent", "reason"),
    [
        (gateway("./*"), {"namespace": "default"}, "NotAllowedByListeners"),
        (gateway("team/*"), {"namespace": "default"}, ""),
        (gateway(), {}, "NoMatchingParent"),
        (gateway(), {"namespace": "default", "port": 81}, "NoMatchingParent"),
        (gateway(), {"namespace": "default", "port": 80}, ""),
        (gateway(protocol="TCP"), {"namespace": "default"}, "NoMatchingParent"),
    ],
)
def test_who_may_be_attached(edge: ConfigObject, parent: dict[str, Any], reason: str) -> None:
    made = route({}, namespace="team", parentRefs=[EDGE | parent])
    assert admitted([*SERVICES, edge, made]).attached[made.key].accepted[0] == reason


def test_one_host_has_routes_of_one_kind() -> None:
    first, second = grpc_route({}), route({})
    admission = admitted([*SERVICES, gateway(), first, second])
    assert admission.attached[second.key].accepted[0] == "Conflicted"
    assert [each.name for each in hosts_at(admission)["*:80"]] == ["default.grpc.0"]


def test_routes_of_a_service_in_the_mesh() -> None:
    producer = route({"name": "producer"}, name="producer", parentRefs=[DETAILS])
    consumer = route(
        {"name": "consumer"}, name="consumer", namespace="team", parentRefs=[DETAILS | {"namespace": "default"}]
    )
    for namespace, name in (("default", "producer"), ("team", "consumer"), ("other", "producer")):
        assert [each.name for each in in_mesh(producer, consumer, namespace=namespace)] == [name]
    elsewhere = route({}, parentRefs=[DETAILS | {"port": 81}])
    assert in_mesh(elsewhere) == []
    entry = {"group": ISTIO, "kind": "ServiceEntry", "name": "reviews-shop"}
    assert [each.name for each in in_mesh(route({"name": "a"}, parentRefs=[entry]), host=REVIEWS)] == ["a"]
    nobody = route({}, parentRefs=[DETAILS | {"name": "nobody"}])
    assert admitted([*SERVICES, nobody]).attached[nobody.key].accepted[0] == "NoMatchingParent"


def test_a_virtual_service_for_the_same_host_wins() -> None:
    made = route({}, parentRefs=[DETAILS])
    governing = virtual_service(LOCAL, {"name": "first", "route": [{"destination": {"host": REVIEWS}}]}, name="first")
    admission = admitted([*SERVICES, governing, made])
    assert [each.name for each in hosts_at(admission, Scope(), "8080")[f"{LOCAL}:8080"]] == ["first"]
    assert problems(admission) == [(f"({made.key})", "spec.parentRefs")]


def test_fields_are_named_as_they_were_written() -> None:
    made = route(
        {"name": "x"}, {"matches": [{}, path("/a", "Exact")], "backendRefs": [to(), to(RATINGS)]}, name="named"
    )
    admission = admitted([*SERVICES, gateway(), made])
    (bound,) = admission.model.bindings["default/edge"]
    for field, written in (
        ("spec.http[0].match[0].uri.exact", "spec.rules[1].matches[1]"),
        ("spec.http[0].route[1].destination.host", "spec.rules[1].backendRefs[1]"),
        ("spec.http[1].timeout", "spec.rules[0]"),
        ("spec.hosts[0]", "spec.hosts[0]"),
    ):
        assert place_of(bound, field) == Place(made.key, made.origin, written)
    origins = translate(admission.model, GATEWAY_SCOPE).origins[ROUTE_TYPE, "http.80"]
    assert made.key in origins


GOOD_RULE = {"backendRefs": [to()]}


def refused(spec: dict[str, Any], kind: str = "HTTPRoute") -> list[str]:
    with pytest.raises(DocumentError) as caught:
        make(kind, "wrong", {"parentRefs": [EDGE], "rules": [GOOD_RULE]} | spec)
    return [each.path.removeprefix("spec.") for each in caught.value.problems]


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"parentRefs": []}, "parentRefs"),
        ({"parentRefs": [{"kind": "Deployment", "name": "edge"}]}, "parentRefs[0].kind"),
        ({"parentRefs": [EDGE | {"sectionName": "a"}]}, "parentRefs[0].sectionName"),
        ({"hostnames": ["a b"]}, "hostnames[0]"),
        ({"rules": []}, "rules"),
        ({"useDefaultGateways": "All"}, "useDefaultGateways"),
    ],
)
def test_what_neither_kind_can_be(spec: dict[str, Any], where: str) -> None:
    assert where in refused(spec)
    assert where in refused(spec, "GRPCRoute")


def of_type(kind: str, **fields: Any) -> dict[str, Any]:
    return {"filters": [{"type": kind} | fields]}


REPLACED = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ({"matches": [path("a")]}, "matches[0].path.value"),
        ({"matches": [path("/a", "Suffix")]}, "matches[0].path.type"),
        ({"matches": [path("(?=a)", "RegularExpression")]}, "matches[0].path.value"),
        ({"matches": [{"method": "get"}]}, "matches[0].method"),
        ({"matches": [{"headers": headers(x="")}]}, "matches[0].headers[0].value"),
        ({"matches": [{"queryParams": [{"name": "a b", "value": "1"}]}]}, "matches[0].queryParams[0].name"),
        ({"backendRefs": [{"kind": "Bucket", "name": "a"}]}, "backendRefs[0].kind"),
        ({"backendRefs": [{"name": "a"}]}, "backendRefs[0].port"),
        ({"backendRefs": [to(weight=-1)]}, "backendRefs[0].weight"),
        ({"backendRefs": [to(filters=[{"type": "URLRewrite"}])]}, "backendRefs[0].filters[0].type"),
        ({"timeouts": {"request": "1s", "backendRequest": "2s"}}, "timeouts.backendRequest"),
        ({"retry": {"attempts": 2}}, "retry"),
        ({"sessionPersistence": {}}, None),
        (of_type("CORS", cors={"allowOrigins": ["*"]}), "filters[0].cors"),
        (of_type("ExtensionRef"), "filters[0].type"),
        (of_type("RequestMirror"), "filters[0]"),
        (of_type("RequestMirror", requestMirror={"backendRef": to(), "percent": 101}), "filters[0].requestMirror.percent"),
        (of_type("URLRewrite", urlRewrite={"path": {"type": "ReplaceFullPath"}}), "filters[0].urlRewrite.path"),
        (of_type("RequestRedirect", requestRedirect={"statusCode": 418}) | {"backendRefs": []}, "filters[0].requestRedirect.statusCode"),
        (of_type("RequestRedirect", requestRedirect={"port": 80}), "filters[0]"),
        (of_type("URLRewrite", urlRewrite=REPLACED) | {"matches": [path("/a", "Exact")]},
         "filters[0].urlRewrite.path.replacePrefixMatch"),
        (of_type("RequestHeaderModifier", requestHeaderModifier={"set": [*headers(a="1"), *headers(A="2")]}),
         "filters[0].requestHeaderModifier.set[1].name"),
        (of_type("RequestHeaderModifier", requestHeaderModifier={"remove": ["host"]}),
         "filters[0].requestHeaderModifier.remove[0]"),
    ],
)  # fmt: skip
def test_what_no_http_rule_can_be(rule: dict[str, Any], where: str | None) -> None:
    if where is not None:
        assert f"rules[0].{where}" in refused({"rules": [GOOD_RULE | rule]})


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ({"matches": [{"method": {}}]}, "matches[0].method"),
        ({"matches": [{"method": {"type": "Prefix", "service": "a"}}]}, "matches[0].method.type"),
        ({"matches": [{"method": {"service": "a/b"}}]}, "matches[0].method.service"),
        (of_type("URLRewrite", urlRewrite={"hostname": "a"}), "filters[0].urlRewrite"),
    ],
)
def test_what_no_grpc_rule_can_be(rule: dict[str, Any], where: str) -> None:
    assert f"rules[0].{where}" in refused({"rules": [GOOD_RULE | rule]}, "GRPCRoute")


SEGMENTS = st.sampled_from(["/", "/a", "/a/b", "/ab", "/b"])
VALUES = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2)
MATCHES = st.fixed_dictionaries(
    {"path": SEGMENTS, "kind": st.sampled_from(["Exact", "PathPrefix"]), "headers": VALUES, "query": VALUES},
    optional={"method": st.sampled_from(["GET", "PUT"])},
)


def spec_takes(match: dict[str, Any], request: Request) -> bool:
    """Whether a match takes a request, read from the specification."""
    target, _, query = request.path.partition("?")
    prefix = match["path"].rstrip("/")
    fits = target == match["path"] if match["kind"] == "Exact" else target == prefix or target.startswith(f"{prefix}/")
    given_query = dict(pair.split("=") for pair in query.split("&") if pair)
    return (
        fits
        and match.get("method", request.method) == request.method
        and match["headers"].items() <= dict(request.headers).items()
        and match["query"].items() <= given_query.items()
    )


def spec_rank(match: dict[str, Any]) -> tuple[Any, ...]:
    length = len(match["path"].rstrip("/")) if match["kind"] == "PathPrefix" else len(match["path"])
    return (match["kind"] != "Exact", -length, "method" not in match, -len(match["headers"]), -len(match["query"]))


@settings(max_examples=60)
@given(st.lists(MATCHES, min_size=1, max_size=6), SEGMENTS, st.sampled_from(["GET", "PUT"]), VALUES, VALUES)
def test_the_route_that_the_specification_names_takes_a_request(
    matches: list[dict[str, Any]], target: str, method: str, given_headers: dict[str, str], query: dict[str, str]
) -> None:
    rules = [
        {
            "name": f"r{number}",
            "matches": [
                path(
                    each["path"], each["kind"], headers=headers(**each["headers"]), queryParams=headers(**each["query"])
                )
                | ({"method": each["method"]} if "method" in each else {})
            ],
        }
        for number, each in enumerate(matches)
    ]
    text = "&".join(f"{name}={value}" for name, value in query.items())
    request = Request("x", f"{target}?{text}" if text else target, method, given_headers)
    best = min(
        ((spec_rank(each), number) for number, each in enumerate(matches) if spec_takes(each, request)), default=None
    )
    assert taken(at_edge(route(*rules)), request) == (f"r{best[1]}" if best is not None else "")
