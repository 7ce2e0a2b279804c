"""Documents that are refused: each names path and value."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_controlplane.model.document import DocumentError, object_problems, parse_document, to_document
from isthmus_controlplane.model.testing import document, make
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, config_object

SERVICE = document(
    "ServiceEntry",
    "reviews",
    {
        "hosts": ["reviews.shop"],
        "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "10.0.0.1", "labels": {"version": "v1"}}],
    },
)
ROUTE = {"destination": {"host": "reviews.shop"}}
VIRTUAL = document("VirtualService", "reviews", {"hosts": ["reviews.shop"], "http": [{"route": [ROUTE]}]})
RULE = document("DestinationRule", "reviews", {"host": "reviews.shop", "subsets": [{"name": "v1"}]})
BASES = {"ServiceEntry": SERVICE, "VirtualService": VIRTUAL, "DestinationRule": RULE}


def refused(base: dict[str, Any], path: str, value: object) -> list[tuple[str, str]]:
    """Set one field of a good document and return the (path, message) of what is refused."""
    changed = copy.deepcopy(base)
    *parents, last = path.split(".")
    target: Any = changed
    for part in parents:
        target = target[int(part)] if part.isdigit() else target.setdefault(part, {})
    target[int(last) if last.isdigit() else last] = value
    with pytest.raises(DocumentError) as caught:
        parse_document(changed, "conf/bad.yaml#2")
    assert {problem.origin for problem in caught.value.problems} == {"conf/bad.yaml#2"}
    return [(problem.path, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize("kind", list(BASES))
@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_good_documents_of_every_api_version(kind: str, version: str) -> None:
    obj = parse_document(BASES[kind] | {"apiVersion": f"networking.istio.io/{version}"}, "a.yaml#1")
    assert obj.key == ObjectKey(kind, "default", "reviews")


@pytest.mark.parametrize(
    ("kind", "path", "value", "where", "shown"),
    [
        ("ServiceEntry", "kind", "Ingress", "kind", "'Ingress'"),
        ("ServiceEntry", "kind", ["x"], "kind", "['x']"),
        ("ServiceEntry", "apiVersion", "v1", "apiVersion", "'v1'"),
        ("ServiceEntry", "metadata", None, "metadata", "None"),
        ("ServiceEntry", "metadata.name", "Not A Name", "metadata.name", "'Not A Name'"),
        ("ServiceEntry", "metadata.name", "../../etc/passwd", "metadata.name", "passwd"),
        ("ServiceEntry", "metadata.namespace", 7, "metadata.namespace", "7"),
        ("ServiceEntry", "metadata.labels", {"a": 1}, "metadata.labels.a", "1"),
        ("ServiceEntry", "metadata.extra", "x", "metadata.extra", "'x'"),
        ("ServiceEntry", "spce", {}, "spce", "{}"),
        ("ServiceEntry", "spec", [], "spec", "[]"),
        ("ServiceEntry", "spec.hots", ["a"], "spec.hots", "['a']"),
        ("ServiceEntry", "spec.hosts", "reviews.shop", "spec.hosts", "'reviews.shop'"),
        ("ServiceEntry", "spec.hosts.0", "-bad-", "spec.hosts[0]", "'-bad-'"),
        ("ServiceEntry", "spec.ports.0.number", "8080x", "spec.ports[0].number", "'8080x'"),
        ("ServiceEntry", "spec.ports.0.number", 70000, "spec.ports[0].number", "70000"),
        ("ServiceEntry", "spec.ports.0.number", -1, "spec.ports[0].number", "-1"),
        ("ServiceEntry", "spec.ports.0.protocol", "SMTP", "spec.ports[0].protocol", "'SMTP'"),
        ("ServiceEntry", "spec.resolution", "STATC", "spec.resolution", "'STATC'"),
        ("ServiceEntry", "spec.resolution", "NONE", "spec.resolution", "NONE"),
        ("ServiceEntry", "spec.resolution", "DNS_ROUND_ROBIN", "spec.resolution", "DNS_ROUND_ROBIN"),
        ("ServiceEntry", "spec.addresses", ["10.0.0.0/8"], "spec.addresses[0]", "'10.0.0.0/8'"),
        ("ServiceEntry", "spec.subjectAltNames", ["x"], "spec.subjectAltNames", "['x']"),
        ("ServiceEntry", "spec.endpoints.0.address", "name.example", "spec.endpoints[0].address", "'name.example'"),
        ("ServiceEntry", "spec.endpoints.0.network", "other", "spec.endpoints[0].network", "'other'"),
        ("ServiceEntry", "spec.endpoints.0.ports", {"x": 1}, "spec.endpoints[0].ports.x", "'x'"),
        ("ServiceEntry", "spec.endpoints.0.labels", {"version": 1}, "spec.endpoints[0].labels.version", "1"),
        ("VirtualService", "spec.http", [], "spec.http", "empty"),
        ("VirtualService", "spec.gateways", ["in gress"], "spec.gateways[0]", "'in gress'"),
        ("VirtualService", "spec.http.0.fault", {"abort": {"http2Error": "x"}}, "spec.http[0].fault.abort.http2Error", "'x'"),
        ("VirtualService", "spec.http.0.fault", {"delay": {"percent": 5}}, "spec.http[0].fault.delay.percent", "5"),
        ("VirtualService", "spec.http.0.mirrorPercent", 5, "spec.http[0].mirrorPercent", "5"),
        ("VirtualService", "spec.http.0.corsPolicy", {"allowOrigin": ["*"]}, "spec.http[0].corsPolicy.allowOrigin", "*"),
        ("VirtualService", "spec.http.0.match", [{"scheme": {"exact": "https"}}], "spec.http[0].match[0].scheme", "https"),
        ("VirtualService", "spec.http.0.timeout", "5 seconds", "spec.http[0].timeout", "'5 seconds'"),
        ("VirtualService", "spec.http.0.timeout", "-1s", "spec.http[0].timeout", "-1s"),
        ("VirtualService", "spec.http.0.route.0.weight", "ten", "spec.http[0].route[0].weight", "'ten'"),
        ("VirtualService", "spec.http.0.route.0.weight", -5, "spec.http[0].route[0].weight", "-5"),
        ("VirtualService", "spec.tcp", [{"match": [{"sourceSubnet": "10.0.0.0/8"}]}], "spec.tcp[0].match[0].sourceSubnet", "10.0.0.0/8"),
        ("VirtualService", "spec.tls", [{"route": [ROUTE]}], "spec.tls[0].match", "empty"),
        ("DestinationRule", "spec.trafficPolicy.loadBalancer.simple", "PASSTHROUGH", "spec.trafficPolicy.loadBalancer.simple", "PASS"),
        ("DestinationRule", "spec.trafficPolicy", {"tls": {"mode": "SIMPLE", "caCrl": "/crl"}}, "spec.trafficPolicy.tls.caCrl", "/crl"),
        ("DestinationRule", "spec.subsets", [{"name": "a|b"}], "spec.subsets[0].name", "'a|b'"),
        ("DestinationRule", "spec.subsets", [{"name": "a"}, {"name": "a"}], "spec.subsets[1].name", "'a'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_path_and_value(
    kind: str, path: str, value: object, where: str, shown: str
) -> None:
    problems = dict(refused(BASES[kind], path, value))
    assert where in problems
    assert shown in problems[where]


def test_all_problems_are_told_at_once() -> None:
    bad = document("ServiceEntry", "x", {"hots": [], "ports": [{"number": "a"}]})
    with pytest.raises(DocumentError) as caught:
        parse_document(bad, "a#1")
    assert {problem.path for problem in caught.value.problems} == {"spec.hots", "spec.ports[0].number"}


def test_two_members_of_a_oneof_are_refused() -> None:
    match = [{"uri": {"exact": "/a", "prefix": "/b"}}]
    problems = refused(VIRTUAL, "spec.http.0.match", match)
    assert "oneof" in problems[0][1]


def test_deep_nesting_is_refused() -> None:
    deep: Any = "end"
    for _ in range(100):
        deep = {"uri": deep}
    assert refused(VIRTUAL, "spec.http.0.match", [deep])


def test_long_values_are_cut_in_messages() -> None:
    ((_, message),) = refused(SERVICE, "spec.unknown", "x" * 100_000)
    assert len(message) < 300


@pytest.mark.parametrize("kind", list(BASES))
def test_writing_and_reading_again_gives_the_same_object(kind: str) -> None:
    obj = parse_document(BASES[kind], "a#1")
    assert parse_document(to_document(obj), "a#1") == obj


def test_version_is_that_of_the_content_only() -> None:
    other = parse_document(copy.deepcopy(SERVICE), "elsewhere.yaml#7")
    assert other.version == parse_document(SERVICE, "a#1").version
    assert make("ServiceEntry", "reviews", SERVICE["spec"] | {"hosts": ["b.shop"]}).version != other.version


def test_an_object_that_came_as_a_message_is_checked_alike() -> None:
    spec: Any = ServiceEntry(hosts=["a.shop"], subject_alt_names=["x"])
    obj: ConfigObject = config_object(ObjectKey("ServiceEntry", "d", "n"), spec, origin="xds://h:1")
    paths = {problem.path for problem in object_problems(obj)}
    assert paths == {"spec.subjectAltNames", "spec.resolution"}
    unknown = config_object(ObjectKey("Ingress", "d", "n"), spec, origin="xds://h:1")
    assert object_problems(unknown)[0].path == "kind"


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=12,
)
_FIELDS = [
    "hosts",
    "ports",
    "http",
    "subsets",
    "host",
    "endpoints",
    "timeout",
    "match",
    "route",
    "labels",
    "trafficPolicy",
]


@given(st.sampled_from(list(BASES)), st.sampled_from(_FIELDS), _JSON)
def test_no_value_crashes_the_check(kind: str, field: str, value: Any) -> None:
    changed = copy.deepcopy(BASES[kind])
    changed["spec"][field] = value
    with contextlib.suppress(DocumentError):
        parse_document(changed, "a#1")


@given(_JSON)
def test_no_document_crashes_the_check(value: Any) -> None:
    with pytest.raises(DocumentError):
        parse_document(value, "a#1")
