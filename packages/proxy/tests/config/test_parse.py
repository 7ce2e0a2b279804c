from __future__ import annotations

import contextlib
from typing import Any

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.config.parse import MAX_DEPTH, fill
from isthmus_proxy.errors import ConfigError


def cluster(**fields: object) -> Any:
    message = Cluster()
    fill(message, fields, "c")
    return message


def test_fields_go_by_either_name() -> None:
    assert cluster(lb_policy="RANDOM") == cluster(lbPolicy="RANDOM") == Cluster(lb_policy=Cluster.RANDOM)


def test_it_reads_what_the_runtime_reads() -> None:
    fields = {
        "name": "a",
        "type": 1,
        "connect_timeout": "0.25s",
        "per_connection_buffer_limit_bytes": "1024",
        "dns_refresh_rate": "5s",
        "respect_dns_ttl": True,
        "metadata": {"filter_metadata": {"k": {"a": [1, "b", None, {"c": True}]}}},
        "load_assignment": {
            "cluster_name": "a",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"port_value": 80.0}}}}]}],
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 12.5}},
        "edsClusterConfig": None,
    }
    expected = Cluster()
    json_format.ParseDict(fields, expected)
    assert cluster(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "path", "text"),
    [
        ({"lb_polcy": "RANDOM"}, "c.lb_polcy", "did you mean lb_policy?"),
        ({"lb_policy": "FASTEST"}, "c.lb_policy", "one of ROUND_ROBIN"),
        ({"lb_policy": 99}, "c.lb_policy", "one of ROUND_ROBIN"),
        ({"name": 7}, "c.name", "put it in quotes"),
        ({"respect_dns_ttl": "yes"}, "c.respect_dns_ttl", "true or false"),
        ({"connect_timeout": 5}, "c.connect_timeout", "duration in seconds"),
        ({"connect_timeout": "5"}, "c.connect_timeout", "duration in seconds"),
        ({"connect_timeout": "٥s"}, "c.connect_timeout", "duration in seconds"),
        ({"per_connection_buffer_limit_bytes": -1}, "c.per_connection_buffer_limit_bytes", "from 0 to 4294967295"),
        ({"per_connection_buffer_limit_bytes": 2**32}, "c.per_connection_buffer_limit_bytes", "from 0 to 4294967295"),
        ({"per_connection_buffer_limit_bytes": True}, "c.per_connection_buffer_limit_bytes", "whole number"),
        ({"per_connection_buffer_limit_bytes": "0x10"}, "c.per_connection_buffer_limit_bytes", "whole number"),
        ({"health_checks": {}}, "c.health_checks", "a list"),
        ({"circuit_breakers": {"thresholds": [{}, {"max_requests": 1.5}]}}, "thresholds[1].max_requests", "whole"),
        ({"circuit_breakers": []}, "c.circuit_breakers", "a mapping"),
        ({"type": "EDS", "cluster_type": {"name": "x"}}, "c.cluster_type", "only one of type and cluster_type"),
        ({"typed_extension_protocol_options": {"x": {}}}, 'options["x"].@type', "must be a type URL"),
        (
            {"typed_extension_protocol_options": {"x": {"@type": "type.googleapis.com/no.Such"}}},
            'options["x"].@type',
            "extension is not supported",
        ),
        ({"metadata": {"filter_metadata": {"k": 3}}}, 'filter_metadata["k"]', "a Struct"),
        ({"common_lb_config": {"healthy_panic_threshold": {"value": "many"}}}, "threshold.value", "a number"),
    ],
)
def test_errors_name_path_and_reason(fields: dict[str, object], path: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cluster(**fields)
    assert path in caught.value.path
    assert text in caught.value.reason


def test_deep_nesting_is_an_error() -> None:
    value: dict[str, object] = {}
    for _ in range(MAX_DEPTH + 1):
        value = {"and_rules": {"rules": [value]}}
    with pytest.raises(ConfigError):
        fill(Bootstrap(), {"static_resources": value})


FIELDS = st.sampled_from([field.name for field in Cluster.DESCRIPTOR.fields])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(value=JSON)
def test_any_value_gives_a_message_or_a_config_error(value: object) -> None:
    with contextlib.suppress(ConfigError):
        fill(Cluster(), value)
