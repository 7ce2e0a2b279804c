"""VirtualServices that continue others: which requests take which route, and whom problems name."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import Route
from hypothesis import given
from hypothesis import strategies as st

from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import HTTPMatchRequest
from isthmus_controlplane.model.admission import Admission
from isthmus_controlplane.model.composed import keys_of, place_of
from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.merge_match import merged_match
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, service, virtual_service
from isthmus_controlplane.model.world import World
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.attribution import Cause, Rejected, causes
from isthmus_controlplane.translate.matches import route_match
from isthmus_controlplane.translate.route_sources import route_sources
from isthmus_controlplane.translate.routing import Request, taken_by
from isthmus_controlplane.translate.translation import ROUTE_TYPE

HOST, OTHER = "reviews.shop", "ratings.shop"
SERVICES = [service(HOST, "v1"), service(OTHER, "v1", port=8080)]


def to(host: str = OTHER, **fields: Any) -> dict[str, Any]:
    return {"route": [{"destination": {"host": host}}]} | fields


def uri(kind: str, text: str) -> dict[str, Any]:
    return {"uri": {kind: text}}


def root(*http: Mapping[str, Any], **spec: Any) -> ConfigObject:
    return virtual_service(HOST, *http, name="root", **spec)


def delegate(*http: Mapping[str, Any], name: str = "team", namespace: str = "default", **spec: Any) -> ConfigObject:
    return make("VirtualService", name, {"http": [dict(each) for each in http]} | spec, namespace)


def delegated(*matches: Mapping[str, Any], name: str = "team", **fields: Any) -> dict[str, Any]:
    return {"match": [dict(each) for each in matches], "delegate": {"name": name}} | fields


def routes(admission: Admission) -> list[Any]:
    made: Any = translate(admission.model, Scope()).messages[ROUTE_TYPE]["8080"]
    return list(next(host for host in made.virtual_hosts if host.name == f"{HOST}:8080").routes)


def problems(admission: Admission) -> list[tuple[str, str]]:
    return [(each.origin.partition(" ")[2], each.path) for each in admission.problems]


def named(obj: ConfigObject) -> str:
    return f"({obj.key})"


def test_routes_of_a_delegate_stand_in_the_place_that_names_it() -> None:
    whole = root(
        to(HOST, match=[uri("exact", "/first")]),
        delegated(uri("prefix", "/team"), name="team"),
        to(HOST),
    )
    team = delegate(
        to(match=[uri("exact", "/team/a"), uri("prefix", "/team/b")]),
        to(match=[{"method": {"exact": "POST"}}]),
        to(HOST),
    )
    admission = admitted([*SERVICES, whole, team])
    assert admission.problems == ()
    assert admission.in_use.keys() == {each.key for each in (*SERVICES, whole, team)}
    made = routes(admission)
    assert [(each.match.path or each.match.prefix) for each in made] == [
        "/first", "/team/a", "/team/b", "/team", "/team", "/"
    ]  # fmt: skip
    assert [each.route.cluster.rpartition("|")[2] for each in made] == [HOST, OTHER, OTHER, OTHER, HOST, HOST]
    assert [header.name for header in made[3].match.headers] == [":method"]


def test_a_delegate_keeps_what_it_sets_and_takes_the_rest() -> None:
    outer = delegated(
        {"name": "outer", **uri("prefix", "/")},
        name="team",
        timeout="9s",
        retries={"attempts": 0},
        headers={"request": {"set": {"x-by": "root"}}},
        mirror={"host": HOST},
    )
    team = delegate(to(timeout="1s", name="own", match=[{"name": "inner", **uri("prefix", "/a")}]), to(mirrors=[]))
    first, second = routes(admitted([*SERVICES, root(outer | {"name": "all"}), team]))
    assert (first.name, second.name) == ("all-own.outer-inner", "all.outer")
    assert (first.route.timeout.seconds, second.route.timeout.seconds) == (1, 9)
    for each in (first, second):
        assert not each.route.HasField("retry_policy")
        assert each.request_headers_to_add[0].header.value == "root"
        assert len(each.route.request_mirror_policies) == 1


def test_names_in_a_delegate_are_of_its_namespace() -> None:
    local = "details.team.svc.cluster.local"
    team = delegate(to("details"), namespace="team")
    where = {"delegate": {"name": "team", "namespace": "team"}}
    admission = admitted([*SERVICES, service(local, "v1"), root(where), team])
    assert admission.problems == ()
    assert routes(admission)[0].route.cluster == f"outbound|8080||{local}"


def test_what_no_route_of_a_delegate_takes_goes_on_to_the_next() -> None:
    whole, team = root({"delegate": {"name": "team"}}, to(HOST)), delegate(to(match=[uri("prefix", "/a")]))
    made = routes(admitted([*SERVICES, whole, team]))
    assert [(each.match.prefix, each.route.cluster.rpartition("|")[2]) for each in made] == [("/a", OTHER), ("/", HOST)]


def test_what_lies_outside_is_left_out_and_said() -> None:
    whole = root(delegated(uri("prefix", "/a")), to(HOST))
    team = delegate(to(match=[uri("prefix", "/b")]), to(match=[uri("prefix", "/a/b"), uri("exact", "/c")]))
    admission = admitted([*SERVICES, whole, team])
    assert problems(admission) == [(named(team), "spec.http[0].match")]
    assert admission.held == frozenset()
    assert [each.match.prefix for each in routes(admission)] == ["/a/b", "/"]
    place = place_of(admission.in_use[whole.key], "spec.http[0].match[0].uri")
    assert (place.key, place.path) == (team.key, "spec.http[1].match[0].uri")


@pytest.mark.parametrize(
    ("others", "path"),
    [
        ([], "spec.http[0].delegate.name"),
        ([virtual_service(OTHER, to(), name="team")], "spec.http[0].delegate.name"),
        ([delegate(to(), namespace="other")], "spec.http[0].delegate.name"),
        ([delegate(to(match=[uri("prefix", "/b")]))], "spec.http[0].match"),
    ],
    ids=["missing", "with hosts", "in another namespace", "conflicting"],
)
def test_a_root_that_cannot_be_put_together_is_held_back(others: list[ConfigObject], path: str) -> None:
    whole = root(delegated(uri("prefix", "/a")))
    admission = admitted([*SERVICES, whole, *others])
    assert whole.key in admission.held
    assert whole.key not in admission.in_use
    assert (named(whole), path) in problems(admission)


def test_a_delegate_that_is_not_exported_cannot_be_taken() -> None:
    team = delegate(to(), namespace="team", exportTo=["."])
    whole = root({"delegate": {"name": "team", "namespace": "team"}})
    assert (named(whole), "spec.http[0].delegate.name") in problems(admitted([*SERVICES, whole, team]))


def test_a_delegate_that_goes_leaves_the_form_before_in_use() -> None:
    whole, team = root({"delegate": {"name": "team"}}), delegate(to(timeout="3s"))
    before = admitted([*SERVICES, whole, team])
    after = admitted([*SERVICES, whole], before)
    assert problems(after) == [(named(whole), "spec.http[0].delegate.name")]
    assert routes(after) == routes(before)
    world = World(("memory:",), before.model.mesh)
    world._merged, world.admission = {each.key: each for each in (*SERVICES, whole, team)}, before
    assert world.preview((), [team.key]), "what is in use cannot be deleted"


def test_a_destination_that_is_missing_is_named_in_the_delegate() -> None:
    whole, good = root(to(HOST, match=[uri("exact", "/x")]), {"delegate": {"name": "team"}}), delegate(to())
    before = admitted([*SERVICES, whole, good])
    bad = delegate(to(match=[uri("prefix", "/a")]), to("nowhere.shop"))
    after = admitted([*SERVICES, whole, bad], before)
    assert problems(after) == [(named(bad), "spec.http[1].route[0].destination.host")]
    assert after.held == {whole.key, bad.key}
    assert routes(after) == routes(before)


def test_what_did_not_change_keeps_its_identity() -> None:
    objects = [*SERVICES, root({"delegate": {"name": "team"}}), delegate(to())]
    before = admitted(objects)
    key = ObjectKey("VirtualService", "default", "root")
    assert admitted(objects, before).in_use[key] is before.in_use[key]
    changed = admitted([*objects[:-1], delegate(to(timeout="2s"))], before)
    assert changed.in_use[key].version != before.in_use[key].version


def test_a_delegate_that_nothing_names_is_said_to_be_unused() -> None:
    team = delegate(to())
    admission = admitted([*SERVICES, team])
    assert problems(admission) == [(named(team), "spec.hosts")]
    assert team.key not in admission.in_use


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"http": [delegated(name="next")]}, "spec.http[0].delegate"),
        ({"http": [to()], "gateways": ["edge"]}, "spec.gateways"),
        ({"tcp": [to()]}, "spec.tcp"),
        ({"hosts": [HOST], "http": [delegated() | to()]}, "spec.http[0]"),
        ({"hosts": [HOST], "http": [{"delegate": {"namespace": "team"}}]}, "spec.http[0].delegate.name"),
    ],
)
def test_what_no_delegation_can_be(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(DocumentError) as caught:
        make("VirtualService", "wrong", spec)
    assert path in [each.path for each in caught.value.problems]


def test_a_rejection_names_the_delegate() -> None:
    whole = root(to(HOST, match=[uri("exact", "/x")]), delegated(uri("prefix", "/a")))
    team = delegate(to(match=[uri("prefix", "/a/odd-value")]))
    admission = admitted([*SERVICES, whole, team])
    translation = translate(admission.model, Scope())
    assert team.key in translation.origins[ROUTE_TYPE, "8080"]
    hosts: Any = translation.messages[ROUTE_TYPE]["8080"]
    index = [host.name for host in hosts.virtual_hosts].index(f"{HOST}:8080")
    for error in (f"virtual_hosts[{index}].routes[1]: bad", "'/a/odd-value' is bad"):
        found = causes(
            Rejected(
                ROUTE_TYPE, ("8080",), error, translation.messages[ROUTE_TYPE], translation.origins, admission.in_use,
                functools.partial(route_sources, admission.model, Scope()),
            )
        )  # fmt: skip
        (cause,) = found
        assert cause.key == team.key
        assert cause in {Cause(team.key, "spec.http[0].match[0]"), Cause(team.key, "spec.http[0].match[0].uri.prefix")}


def test_a_whole_object_is_made_from_itself_alone() -> None:
    assert keys_of(root(to())) == (root(to()).key,)


TEXTS = st.sampled_from(["/", "/a", "/a/b", "/b"])
STRINGS = st.builds(lambda kind, text: {kind: text}, st.sampled_from(["exact", "prefix"]), TEXTS)
MATCHES = st.fixed_dictionaries(
    {},
    optional={"uri": STRINGS, "method": st.just({"exact": "GET"}), "headers": st.dictionaries(st.just("x"), STRINGS)},
)


def request_match(values: Mapping[str, Any]) -> Any:
    match = HTTPMatchRequest()
    for name, value in values.items():
        if name == "headers":
            for header, condition in value.items():
                for kind, text in condition.items():
                    setattr(match.headers[header], kind, text)
        else:
            for kind, text in value.items():
                setattr(getattr(match, name), kind, text)
    return match


@given(MATCHES, MATCHES, TEXTS, st.sampled_from(["GET", "PUT"]), st.none() | TEXTS)
def test_a_merged_match_takes_what_both_take(
    wide: dict[str, Any], narrow: dict[str, Any], path: str, method: str, header: str | None
) -> None:
    merged = merged_match(request_match(wide), request_match(narrow))
    if merged is None:
        return
    request = Request(HOST, path, method, {"x": header} if header is not None else {})

    def takes(match: Any) -> bool:
        return bool(list(taken_by([Route(match=route_match(match))], request)))

    assert takes(merged) == (takes(request_match(wide)) and takes(request_match(narrow)))
