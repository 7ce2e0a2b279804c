"""Access logs that Telemetry asks for."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import Translation, translate
from isthmus_controlplane.translate.access_logs import FORMAT
from isthmus_controlplane.translate.translation import LISTENER_TYPE

SERVICES = [service("a.shop", "v1"), service("db.shop", "v1", port=3306, protocol="TCP")]
SIDECAR = Scope(addresses=("10.0.0.1",), labels=(("app", "a"),))
LOGGING = {"providers": [{"name": "envoy"}]}
APP: dict[str, Any] = {"selector": {"matchLabels": {"app": "a"}}}


def telemetry(*logging: dict[str, Any], name: str = "t", namespace: str = "default", **spec: Any) -> ConfigObject:
    return make("Telemetry", name, {"accessLogging": list(logging)} | spec, namespace)


def translated(*objects: ConfigObject, scope: Scope = SIDECAR) -> Translation:
    model = admitted([*SERVICES, *objects]).model
    index = InstanceIndex()
    index.follow(model.services)
    return translate(model, narrow(model, scope, index))


def logged(*objects: ConfigObject, scope: Scope = SIDECAR) -> set[str]:
    """The listeners of which each chain logs."""
    found = set()
    for name, message in translated(*objects, scope=scope).messages[LISTENER_TYPE].items():
        chains = MessageToDict(message, preserving_proto_field_name=True)["filter_chains"]
        logs = [chain["filters"][-1]["typed_config"].get("access_log", []) for chain in chains]
        assert len({len(each) for each in logs}) == 1
        if logs[0]:
            assert logs[0][0]["typed_config"]["log_format"]["text_format_source"]["inline_string"] == FORMAT
            found.add(name)
    return found


OUT = {"0.0.0.0_8080", "0.0.0.0_3306", "virtualOutbound"}
IN = {"virtualInbound"}


def mode(name: str, **fields: Any) -> dict[str, Any]:
    return {"match": {"mode": name}} | fields


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([], set()),
        ([telemetry(LOGGING)], OUT | IN),
        ([telemetry({})], OUT | IN),
        ([telemetry(mode("CLIENT"))], OUT),
        ([telemetry(mode("SERVER"))], IN),
        ([telemetry({}, mode("SERVER", disabled=True))], OUT),
        ([telemetry({"disabled": True})], set()),
        ([telemetry(LOGGING, namespace="istio-system")], OUT | IN),
        ([telemetry(LOGGING, namespace="other")], set()),
        ([telemetry(LOGGING, namespace="istio-system"), telemetry({"disabled": True}, name="u")], set()),
        ([telemetry({"disabled": True}), telemetry(mode("SERVER"), name="u", **APP)], IN),
        ([telemetry(LOGGING), telemetry(name="u", **APP)], OUT | IN),
    ],
)
def test_who_logs(objects: list[ConfigObject], expected: set[str]) -> None:
    assert logged(*objects) == expected


def test_gateways_log_and_grpc_clients_do_not() -> None:
    gateway = make(
        "Gateway", "g", {"servers": [{"port": {"number": 80, "name": "h", "protocol": "HTTP"}, "hosts": ["*"]}]}
    )
    assert logged(gateway, telemetry(LOGGING), scope=Scope(kind="gateway")) == {"0.0.0.0_80"}
    before = translated(scope=Scope(kind="grpc"))
    assert translated(telemetry(LOGGING), scope=Scope(kind="grpc")).messages == before.messages


def test_a_rejection_leads_to_the_telemetry() -> None:
    keys = translated(telemetry(LOGGING)).origins[LISTENER_TYPE, "0.0.0.0_8080"]
    assert "Telemetry default/t" in map(str, keys)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"accessLogging": [{"providers": [{"name": "otel"}]}]}, "spec.accessLogging[0].providers[0].name"),
        ({"accessLogging": [{"filter": {"expression": "response.code >= 400"}}]}, "spec.accessLogging[0].filter"),
        ({"metrics": [{}]}, "spec.metrics"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(DocumentError) as refused:
        make("Telemetry", "t", spec)
    assert [problem.path for problem in refused.value.problems] == [path]
