"""The two registry APIs as their SDKs use them, and as nobody should."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.registry_api import registry as bounds
from isthmus_proxy.registry_api.dubbo import DubboApi
from isthmus_proxy.registry_api.model import Publication
from isthmus_proxy.registry_api.registry import ApplicationRegistry, RegistryFull
from isthmus_proxy.registry_api.sofa import SofaApi

PROVIDER = {
    "protocol": "1",
    "version": "4.0",
    "serializeType": "hessian2",
    "appName": "shop",
    "properties": {"weight": "50"},
}
PUBLISH = {
    "serviceName": "com.x.Foo:1.0",
    "protocolType": "bolt",
    "group": "SOFA",
    "providerMetaInfo": PROVIDER,
    "onlyPublishInCloud": False,
}


class Changes:
    def __init__(self) -> None:
        self.count = 0
        self.registry = ApplicationRegistry(self.changed)
        self.sofa = SofaApi(self.registry, "127.0.0.1:12220")
        self.dubbo = DubboApi(self.registry)

    def changed(self) -> None:
        self.count += 1

    def post(self, path: str, body: object) -> dict[str, object]:
        answer = self.sofa.answer("POST", path, json.dumps(body).encode())
        assert isinstance(answer.body, dict)
        return answer.body

    def pub(self, path: str, body: object) -> object:
        answer = self.dubbo.answer("POST", path, json.dumps(body).encode())
        assert isinstance(answer.body, dict)
        return answer.body["err_no"]


@pytest.fixture
def api() -> Changes:
    made = Changes()
    assert made.post("/configs/application", {"appName": "shop", "zone": "a"}) == {"success": True, "errorMessage": ""}
    return made


def test_what_sofarpc_publishes_is_published_once_and_withdrawn(api: Changes) -> None:
    for _ in range(2):
        assert api.post("/services/publish", PUBLISH)["success"] is True
    assert api.count == 1
    metadata = {"weight": "50", "version": "4.0", "serializeType": "hessian2", "protocol": "1"}
    assert api.registry.published == (Publication("com.x.Foo:1.0", "bolt", "SOFA", "", "shop", metadata),)
    withdrawn = {"serviceName": "com.x.Foo:1.0", "protocolType": "bolt", "group": "SOFA"}
    for _ in range(2):
        assert api.post("/services/unpublish", withdrawn)["success"] is True
    assert (len(api.registry.published), api.count) == (0, 2)


def test_every_subscription_is_answered_with_the_sidecar(api: Changes) -> None:
    answer = api.post("/services/subscribe", {"serviceName": "s:1.0", "protocolType": "bolt", "vipOnly": False})
    assert answer["datas"] == ["127.0.0.1:12220?p=1&v=4.0&_SERIALIZETYPE=hessian2"]
    assert (answer["serviceName"], answer["success"]) == ("s:1.0", True)
    assert api.registry.subscriptions == {("s:1.0", "")}
    assert api.post("/services/unsubscribe", {"serviceName": "s:1.0"})["success"] is True
    assert api.registry.subscriptions == set()


def test_the_application_comes_first() -> None:
    fresh = Changes()
    answer = fresh.post("/services/publish", PUBLISH)
    assert answer["success"] is False
    assert "not startup" in str(answer["errorMessage"])


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"serviceName": {}}', b'{"serviceName": ""}', b"\xff", b"{}", b"[" * 9999]
)
def test_bad_bodies_are_said_to_be_bad(api: Changes, body: bytes) -> None:
    for path in ("publish", "unpublish", "subscribe", "unsubscribe"):
        answer = api.sofa.answer("POST", f"/services/{path}", body)
        assert isinstance(answer.body, dict)
        assert answer.body["success"] is False
    for path in ("/pub", "/unpub", "/sub", "/unsub"):
        answer = api.dubbo.answer("POST", path, body)
        assert isinstance(answer.body, dict)
        assert answer.body["err_no"] != 0
    assert api.count == 0


def test_unknown_paths_are_unknown(api: Changes) -> None:
    assert api.sofa.answer("POST", "/services/other", b"{}").status == 404
    assert api.sofa.answer("DELETE", "/services/publish", b"{}").status == 404
    assert api.sofa.answer("GET", "/other", b"").status == 404
    assert api.dubbo.answer("GET", "/pub", b"").status == 404


def test_people_can_look(api: Changes) -> None:
    api.post("/services/publish", PUBLISH)
    assert api.sofa.answer("GET", "/configs/application", b"").body == {"appName": "shop", "zone": "a"}
    assert api.sofa.answer("GET", "/services", b"").body == {
        "published": [{"serviceName": "com.x.Foo:1.0", "protocolType": "bolt"}],
        "subscribed": [],
        "alive": True,
    }


def test_dubbo_publishes_with_its_methods(api: Changes) -> None:
    service = {"interface": "com.x.A", "methods": ["a", "b"], "group": "g", "version": "1.0"}
    registry = {"type": "zookeeper", "addr": "127.0.0.1:2181"}
    assert api.pub("/pub", {"registry": registry, "service": service}) == 0
    assert api.registry.published == (Publication("com.x.A", "dubbo", "g", "1.0", "", {"methods": "a,b"}),)
    assert api.pub("/sub", {"registry": registry, "service": service}) == 0
    assert api.registry.subscriptions == {("com.x.A", "g")}
    assert api.pub("/unsub", {"service": service}) == 0
    assert api.pub("/unpub", {"service": service}) == 0
    assert not api.registry.published


def test_a_dead_application_keeps_what_it_published_and_is_told_of(api: Changes) -> None:
    api.post("/services/publish", PUBLISH)
    before = api.registry.published
    api.registry.set_alive(False)
    assert (api.registry.published, api.registry.alive, api.count) == (before, False, 2)
    api.registry.set_alive(False)
    api.registry.set_alive(True)
    assert (api.registry.published, api.registry.alive, api.count) == (before, True, 3)


def test_there_is_a_bound() -> None:
    registry = ApplicationRegistry()
    for number in range(bounds.MAX_PUBLICATIONS):
        registry.publish(Publication(str(number), "bolt"))
    registry.publish(Publication("0", "bolt", application="again"))
    with pytest.raises(RegistryFull):
        registry.publish(Publication("more", "bolt"))
    for number in range(bounds.MAX_SUBSCRIPTIONS):
        registry.subscribe(str(number), "")
    registry.subscribe("0", "")
    with pytest.raises(RegistryFull):
        registry.subscribe("more", "")


keys = st.sampled_from(("serviceName", "service", "interface", "providerMetaInfo", "properties", "methods"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
sofa_paths = st.sampled_from(("publish", "unpublish", "subscribe", "unsubscribe"))


@given(sofa_paths, st.sampled_from(("pub", "sub", "unpub", "unsub")), json_values)
def test_any_json_gets_an_answer(sofa: str, dubbo: str, body: object) -> None:
    api = Changes()
    api.post("/configs/application", {"appName": "a"})
    raw = json.dumps(body).encode()
    json.dumps(api.sofa.answer("POST", f"/services/{sofa}", raw).body)
    json.dumps(api.dubbo.answer("POST", f"/{dubbo}", raw).body)
