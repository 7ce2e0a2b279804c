"""bootstrap_extensions: the registry API compiles, or is refused by path."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from isthmus_proxy.config.bootstrap import compile_bootstrap
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.registry_api.model import ApplicationCheck, RegistryApiConfig

STRUCT = "type.googleapis.com/xds.type.v3.TypedStruct"
KIND = "type.googleapis.com/isthmus.bootstrap.registry_api.v1.RegistryApi"


def compiled(value: dict[str, Any], kind: str = KIND, times: int = 1) -> RegistryApiConfig | None:
    proto = Bootstrap()
    extension = {"name": "registry_api", "typed_config": {"@type": STRUCT, "type_url": kind, "value": value}}
    cluster = {"name": "bridge", "type": "STATIC"}
    fill(proto, {"bootstrap_extensions": [extension] * times, "static_resources": {"clusters": [cluster]}})
    return compile_bootstrap(proto).registry_api


def test_none_and_the_least() -> None:
    assert compile_bootstrap(Bootstrap()).registry_api is None
    assert compiled({"sofa_port": 13330}) == RegistryApiConfig(sofa_port=13330)


def test_everything() -> None:
    value = {
        "sofa_port": 13330,
        "dubbo_port": 22222,
        "outbound_port": 12221,
        "host": "10.0.0.7",
        "inbound_port": 12201,
        "registration_cluster": "bridge",
        "application_check": {"port": 12199, "codec": "dubbo", "interval": "2s", "timeout": "0.5s", "failures": 2},
        "native_host": "10.0.0.8",
        "native_port": 12199,
        "instance": "pod-7",
        "keep_alive": "2s",
        "stall_timeout": "3s",
        "leave_time": "0s",
    }
    check = ApplicationCheck(12199, "dubbo", 2.0, 0.5, 2)
    expected = RegistryApiConfig(
        13330, 22222, 12221, "10.0.0.7", 12201, ("bridge",), check, "10.0.0.8", 12199, "pod-7", 2.0, 3.0, 0.0
    )
    assert compiled(value) == expected
    del value["registration_cluster"]
    assert compiled({**value, "registration_clusters": ["bridge"]}) == expected


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({}, ""),
        ({"sofa_port": 65536}, ".sofa_port"),
        ({"sofa_port": 1, "other": 1}, ".other"),
        ({"sofa_port": 1, "host": "here"}, ".host"),
        ({"sofa_port": 1, "host": 1}, ".host"),
        ({"sofa_port": 1, "outbound_port": 0}, ".outbound_port"),
        ({"sofa_port": 1, "registration_cluster": "none"}, ".registration_cluster"),
        ({"sofa_port": 1, "registration_clusters": ["bridge", "none"]}, ".registration_clusters"),
        ({"sofa_port": 1, "registration_clusters": "bridge"}, ".registration_clusters"),
        (
            {"sofa_port": 1, "registration_clusters": ["bridge"], "registration_cluster": "bridge"},
            ".registration_clusters",
        ),
        ({"sofa_port": 1, "native_host": "there", "native_port": 1}, ".native_host"),
        ({"sofa_port": 1, "native_host": "10.0.0.1"}, ".native_port"),
        ({"sofa_port": 1, "keep_alive": "0s"}, ".keep_alive"),
        ({"sofa_port": 1, "stall_timeout": "-1s"}, ".stall_timeout"),
        ({"sofa_port": 1, "leave_time": "-1s"}, ".leave_time"),
        ({"sofa_port": 1, "application_check": 1}, ".application_check"),
        ({"sofa_port": 1, "application_check": {}}, ".application_check.port"),
        ({"sofa_port": 1, "application_check": {"port": 1, "codec": "x"}}, ".application_check.codec"),
        ({"sofa_port": 1, "application_check": {"port": 1, "interval": "0s"}}, ".application_check.interval"),
        ({"sofa_port": 1, "application_check": {"port": 1, "path": "/"}}, ".application_check.path"),
    ],
)
def test_refusals_name_the_field(value: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(value)
    assert caught.value.path == f"bootstrap_extensions[0].typed_config.value{path}"


def test_there_is_one_extension_of_one_kind() -> None:
    with pytest.raises(ConfigError):
        compiled({"sofa_port": 1}, "type.googleapis.com/isthmus.other.v1.Thing")
    with pytest.raises(ConfigError):
        compiled({"sofa_port": 1}, times=2)
