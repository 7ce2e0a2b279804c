"""Rules of Sidecar."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.testing import make

PORT = {"number": 80, "name": "http", "protocol": "HTTP"}


def paths(**spec: Any) -> set[str]:
    try:
        make("Sidecar", "s", spec)
    except DocumentError as error:
        return {problem.path.removeprefix("spec.") for problem in error.problems}
    return set()


def ingress(**fields: Any) -> dict[str, Any]:
    return {"ingress": [{"port": PORT, "defaultEndpoint": "127.0.0.1:9000"} | fields]}


def egress(*hosts: str, **fields: Any) -> dict[str, Any]:
    return {"egress": [{"hosts": list(hosts)} | fields]}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        egress("./*", "*/reviews.shop", "other/*.example.com", "~/*"),
        egress("./*", port=PORT, bind="127.0.0.2", captureMode="NONE"),
        ingress(bind="::1", captureMode="NONE"),
        ingress(defaultEndpoint="[::1]:9000", connectionPool={"tcp": {"maxConnections": 3}}),
        {"workloadSelector": {"labels": {"app": "a"}}, "outboundTrafficPolicy": {"mode": "ALLOW_ANY"}},
        {"inboundConnectionPool": {"http": {"http2MaxRequests": 10}}},
        {"egress": [{"hosts": ["./*"], "port": PORT}, {"hosts": ["./*"]}]},
    ],
)
def test_good(spec: dict[str, Any]) -> None:
    assert paths(**spec) == set()


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (egress(), "egress[0].hosts"),
        (egress("reviews.shop"), "egress[0].hosts[0]"),
        (egress("a b/*"), "egress[0].hosts[0]"),
        (egress("./re*"), "egress[0].hosts[0]"),
        (egress("./*", port=PORT | {"protocol": "SMTP"}), "egress[0].port.protocol"),
        (egress("./*", port=PORT | {"number": 0}), "egress[0].port.number"),
        (egress("./*", port=PORT, bind="unix:///x"), "egress[0].bind"),
        (egress("./*", bind="127.0.0.1"), "egress[0].bind"),
        (egress("./*", captureMode="NONE"), "egress[0].captureMode"),
        ({"egress": [{"hosts": ["./*"]}, {"hosts": ["*/*"]}]}, "egress[1].port.number"),
        ({"ingress": [{"defaultEndpoint": "127.0.0.1:1"}]}, "ingress[0].port"),
        (ingress(defaultEndpoint=""), "ingress[0].defaultEndpoint"),
        (ingress(defaultEndpoint="unix:///run/app.sock"), "ingress[0].defaultEndpoint"),
        (ingress(defaultEndpoint="0.0.0.0:80"), "ingress[0].defaultEndpoint"),
        (ingress(defaultEndpoint="::1:80"), "ingress[0].defaultEndpoint"),
        (ingress(defaultEndpoint="127.0.0.1:99999"), "ingress[0].defaultEndpoint"),
        (ingress(tls={"mode": "SIMPLE"}), "ingress[0].tls"),
        (ingress(connectionPool={"tcp": {"maxConnections": -1}}), "ingress[0].connectionPool.tcp.maxConnections"),
        ({"ingress": ingress()["ingress"] * 2}, "ingress[1].port.number"),
        ({"workloadSelector": {}}, "workloadSelector.labels"),
        ({"outboundTrafficPolicy": {"egressProxy": {"host": "a.shop"}}}, "outboundTrafficPolicy.egressProxy"),
        ({"inboundConnectionPool": {"tcp": {"connectTimeout": "0s"}}}, "inboundConnectionPool.tcp.connectTimeout"),
    ],
)
def test_bad(spec: dict[str, Any], path: str) -> None:
    assert path in paths(**spec)
