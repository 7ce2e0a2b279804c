"""The JSON form: documents as users of Istio write them, and what must be refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from google.protobuf.message import Message

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import DestinationRule, LoadBalancerSettings
from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_api.istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from isthmus_api.istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry

KINDS: dict[str, type[Message]] = {
    "DestinationRule": DestinationRule,
    "ServiceEntry": ServiceEntry,
    "VirtualService": VirtualService,
    "WorkloadEntry": WorkloadEntry,
}
FILES = sorted((Path(__file__).parent / "data" / "istio").glob("*.yaml"))
DOCUMENTS = [document for path in FILES for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def parse(document: dict[str, Any]) -> Message:
    return json_format.ParseDict(document["spec"], KINDS[document["kind"]]())


def load(kind: str) -> Any:
    """The first document of a kind, parsed. Any, so that tests may walk into it without casts."""
    return parse(next(document for document in DOCUMENTS if document["kind"] == kind))


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_document_survives_message_and_bytes(document: dict[str, Any]) -> None:
    message = parse(document)
    decoded = type(message).FromString(message.SerializeToString())
    assert decoded == message
    printed = json_format.MessageToDict(decoded, always_print_fields_with_no_presence=True)
    assert parse({**document, "spec": printed}) == message
    assert leaves(document["spec"]) <= leaves(printed)


def leaves(value: object, path: str = "") -> set[str]:
    """Paths of all that the document states, without values: nothing may vanish between two forms."""
    match value:
        case dict() if value:
            return {leaf for key, part in value.items() for leaf in leaves(part, f"{path}.{key}")}
        case list() if value:
            return {leaf for index, part in enumerate(value) for leaf in leaves(part, f"{path}[{index}]")}
        case _:
            return {path}


def test_durations_keep_their_fractions() -> None:
    route = load("VirtualService").http[0]
    assert route.timeout.ToMilliseconds() == 500
    assert json_format.MessageToDict(route)["timeout"] == "0.500s"
    assert route.retries.backoff.ToMilliseconds() == 25


def test_wrappers_tell_zero_from_unset() -> None:
    policy = load("DestinationRule").traffic_policy
    assert policy.outlier_detection.HasField("consecutive_gateway_errors")
    assert policy.outlier_detection.consecutive_gateway_errors.value == 0
    assert not policy.outlier_detection.HasField("consecutive_local_origin_failures")
    assert policy.tls.HasField("insecure_skip_verify")


def test_an_empty_string_match_asks_for_presence() -> None:
    match = load("VirtualService").http[0].match[0]
    assert match.headers["x-present"].WhichOneof("match_type") is None
    assert "x-bot" in match.without_headers


def test_oneofs_name_the_chosen_field() -> None:
    rule = load("DestinationRule")
    assert rule.traffic_policy.load_balancer.WhichOneof("lb_policy") == "simple"
    hashing = rule.traffic_policy.port_level_settings[0].load_balancer.consistent_hash
    assert hashing.WhichOneof("hash_key") == "http_cookie"
    assert hashing.http_cookie.HasField("ttl")
    assert hashing.ring_hash.minimum_ring_size == 2048
    assert load("VirtualService").http[3].direct_response.body.bytes == b"GIF89a"


def test_original_field_names_are_accepted() -> None:
    """Istio takes both spellings."""
    entry = json_format.ParseDict({"export_to": ["*"], "ports": [{"number": 1, "target_port": 2}]}, ServiceEntry())
    assert entry.ports[0].target_port == 2


@pytest.mark.parametrize(
    ("kind", "spec", "named"),
    [
        ("VirtualService", {"http": [{"rout": []}]}, '"rout"'),
        ("VirtualService", {"http": [{"match": [{"uri": {"exact": "/", "prefix": "/"}}]}]}, "match_type"),
        ("VirtualService", {"http": [{"timeout": "5"}]}, "timeout"),
        ("VirtualService", {"http": [{"websocketUpgrade": True}]}, '"websocketUpgrade"'),
        ("VirtualService", {"tcp": [{"match": [{"port": -1}]}]}, "port"),
        ("DestinationRule", {"trafficPolicy": {"loadBalancer": {"simple": "FASTEST"}}}, "FASTEST"),
        ("ServiceEntry", {"resolution": "MAGIC"}, "MAGIC"),
        ("WorkloadEntry", {"ports": {"http": "web"}}, "ports"),
    ],
)
def test_what_istio_does_not_know_is_refused_by_name(kind: str, spec: dict[str, Any], named: str) -> None:
    with pytest.raises(json_format.ParseError) as caught:
        parse({"kind": kind, "spec": spec})
    assert named in str(caught.value)


def test_deprecated_fields_are_recognised() -> None:
    """So that a reader can refuse them by name, or honour them, and need not guess."""
    spec = {"trafficPolicy": {"outlierDetection": {"consecutiveErrors": 5}, "loadBalancer": {"simple": "LEAST_CONN"}}}
    rule = json_format.ParseDict(spec, DestinationRule())
    assert rule.traffic_policy.outlier_detection.consecutive_errors == 5
    assert rule.traffic_policy.load_balancer.simple == LoadBalancerSettings.LEAST_CONN
