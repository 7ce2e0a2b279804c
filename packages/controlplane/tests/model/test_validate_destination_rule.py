"""Rules of traffic policies."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_controlplane.model.document import DocumentError
from isthmus_controlplane.model.testing import rule

HASH = "loadBalancer.consistentHash"


def paths(**spec: Any) -> set[str]:
    try:
        rule("reviews.shop", **spec)
    except DocumentError as error:
        return {problem.path.removeprefix("spec.") for problem in error.problems}
    return set()


def hashed(**settings: Any) -> dict[str, Any]:
    return {"loadBalancer": {"consistentHash": settings}}


def warmed(settings: dict[str, Any], **beside: Any) -> dict[str, Any]:
    return {"loadBalancer": {"warmup": {"duration": "9s"} | settings} | beside}


def pool(**sides: Any) -> dict[str, Any]:
    return {"connectionPool": sides}


def tls(mode: str, **settings: Any) -> dict[str, Any]:
    return {"tls": {"mode": mode} | settings}


PAIR = {"clientCertificate": "/c.pem", "privateKey": "/k.pem"}


def outliers(**settings: Any) -> dict[str, Any]:
    return {"outlierDetection": settings}


@pytest.mark.parametrize(
    "policy",
    [
        {},
        hashed(httpHeaderName="x-user", minimumRingSize=64),
        hashed(httpCookie={"name": "user"}, ringHash={"minimumRingSize": 8388608}),
        hashed(httpCookie={"name": "user", "path": "/", "ttl": "0s", "attributes": [{"name": "Secure"}]}),
        hashed(useSourceIp=True, maglev={"tableSize": 5000011}),
        hashed(httpQueryParameterName="user", maglev={}),
        warmed({"minimumPercent": 5}),
        warmed({}, simple="ROUND_ROBIN"),
        {"loadBalancer": {"warmupDurationSecs": "60s", "simple": "LEAST_REQUEST"}},
        pool(tcp={"maxConnections": 0, "connectTimeout": "0.001s", "idleTimeout": "0s"}, http={"maxRetries": 2147483647}),
        outliers(consecutive5xxErrors=0, maxEjectionPercent=100, minHealthPercent=0, interval="1s"),
        outliers(splitExternalLocalOriginErrors=True, consecutiveLocalOriginFailures=1),
        tls("SIMPLE"),
        tls("SIMPLE", caCertificates="/ca.pem", sni="a.example", subjectAltNames=["a.example"], insecureSkipVerify=False),
        tls("SIMPLE", credentialName="shop", subjectAltNames=["a.example"]),
        tls("SIMPLE", insecureSkipVerify=True, sni="a.example"),
        tls("MUTUAL", caCertificates="/ca.pem", **PAIR),
        tls("MUTUAL", insecureSkipVerify=True, **PAIR),
        tls("MUTUAL", credentialName="shop"),
    ],
)  # fmt: skip
def test_good_policies_at_every_level(policy: dict[str, Any]) -> None:
    at_port = {"portLevelSettings": [policy | {"port": {"number": 80}}]}
    assert paths(trafficPolicy=policy) == set()
    assert paths(trafficPolicy=at_port) == set()
    assert paths(subsets=[{"name": "a", "trafficPolicy": policy | at_port}]) == set()


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        (hashed(), HASH),
        (hashed(maglev={}), HASH),
        (hashed(httpHeaderName="a b"), f"{HASH}.httpHeaderName"),
        (hashed(httpHeaderName=""), f"{HASH}.httpHeaderName"),
        (hashed(httpCookie={}), f"{HASH}.httpCookie.name"),
        (hashed(httpCookie={"name": "a", "path": "/; Secure"}), f"{HASH}.httpCookie.path"),
        (hashed(httpCookie={"name": "a", "ttl": "-1s"}), f"{HASH}.httpCookie.ttl"),
        (hashed(httpCookie={"name": "a", "attributes": [{"name": ""}]}), f"{HASH}.httpCookie.attributes[0].name"),
        (hashed(httpCookie={"name": "a", "attributes": [{"name": "a", "value": "b\r\n"}]}), f"{HASH}.httpCookie.attributes[0].value"),
        (hashed(useSourceIp=False), f"{HASH}.useSourceIp"),
        (hashed(httpQueryParameterName=""), f"{HASH}.httpQueryParameterName"),
        (hashed(useSourceIp=True, minimumRingSize=8388609), f"{HASH}.minimumRingSize"),
        (hashed(useSourceIp=True, ringHash={"minimumRingSize": 8388609}), f"{HASH}.ringHash.minimumRingSize"),
        (hashed(useSourceIp=True, maglev={"tableSize": 65536}), f"{HASH}.maglev.tableSize"),
        (hashed(useSourceIp=True, maglev={"tableSize": 5000077}), f"{HASH}.maglev.tableSize"),
        (pool(tcp={"maxConnections": -1}), "connectionPool.tcp.maxConnections"),
        (pool(tcp={"connectTimeout": "0s"}), "connectionPool.tcp.connectTimeout"),
        (pool(tcp={"maxConnectionDuration": "60s"}), "connectionPool.tcp.maxConnectionDuration"),
        (pool(tcp={"idleTimeout": "-1s"}), "connectionPool.tcp.idleTimeout"),
        (pool(http={"idleTimeout": "0.0001s"}), "connectionPool.http.idleTimeout"),
        (pool(http={"http2MaxRequests": -1}), "connectionPool.http.http2MaxRequests"),
        (pool(http={"http2KeepAlive": {"interval": "1s"}}), "connectionPool.http.http2KeepAlive"),
        (pool(http={"useClientProtocol": True}), "connectionPool.http.useClientProtocol"),
        (pool(tcp={"tcpKeepalive": {"probes": 3}}), "connectionPool.tcp.tcpKeepalive"),
        ({"loadBalancer": {"localityLbSetting": {"failoverPriority": ["a"]}}}, "loadBalancer.localityLbSetting.failoverPriority"),
        (warmed({"aggression": 2}), "loadBalancer.warmup.aggression"),
        (warmed({"duration": "0s"}), "loadBalancer.warmup.duration"),
        (warmed({"minimumPercent": 101}), "loadBalancer.warmup.minimumPercent"),
        (warmed({}, simple="RANDOM"), "loadBalancer.warmup"),
        (warmed({}, consistentHash={"useSourceIp": True}), "loadBalancer.warmup"),
        (warmed({}, warmupDurationSecs="9s"), "loadBalancer.warmupDurationSecs"),
        ({"loadBalancer": {"warmupDurationSecs": "0s"}}, "loadBalancer.warmupDurationSecs"),
        (outliers(consecutiveErrors=7), "outlierDetection.consecutiveErrors"),
        (outliers(interval="0s"), "outlierDetection.interval"),
        (outliers(baseEjectionTime="0s"), "outlierDetection.baseEjectionTime"),
        (outliers(maxEjectionPercent=101), "outlierDetection.maxEjectionPercent"),
        (outliers(minHealthPercent=-1), "outlierDetection.minHealthPercent"),
        (outliers(consecutiveLocalOriginFailures=1), "outlierDetection.consecutiveLocalOriginFailures"),
        (tls("SIMPLE", clientCertificate="/c.pem"), "tls.clientCertificate"),
        (tls("SIMPLE", credentialName="a b"), "tls.credentialName"),
        (tls("SIMPLE", credentialName="kubernetes://a"), "tls.credentialName"),
        (tls("SIMPLE", credentialName="a", caCertificates="/ca.pem"), "tls.caCertificates"),
        (tls("SIMPLE", insecureSkipVerify=True, caCertificates="/ca.pem"), "tls.caCertificates"),
        (tls("SIMPLE", insecureSkipVerify=True, subjectAltNames=["a"]), "tls.subjectAltNames"),
        (tls("SIMPLE", sni="*.example"), "tls.sni"),
        (tls("MUTUAL", clientCertificate="/c.pem"), "tls.privateKey"),
        (tls("MUTUAL", privateKey="/k.pem"), "tls.clientCertificate"),
        (tls("MUTUAL", credentialName="a", privateKey="/k.pem"), "tls.privateKey"),
        (tls("ISTIO_MUTUAL", caCertificates="/ca.pem"), "tls.caCertificates"),
        (tls("ISTIO_MUTUAL", insecureSkipVerify=True), "tls.insecureSkipVerify"),
        (tls("DISABLE", sni="a"), "tls.sni"),
    ],
)  # fmt: skip
def test_bad_policies_at_every_level(policy: dict[str, Any], path: str) -> None:
    at_port = {"portLevelSettings": [policy | {"port": {"number": 80}}]}
    assert paths(trafficPolicy=policy) == {f"trafficPolicy.{path}"}
    assert paths(trafficPolicy=at_port) == {f"trafficPolicy.portLevelSettings[0].{path}"}
    assert paths(subsets=[{"name": "a", "trafficPolicy": policy}]) == {f"subsets[0].trafficPolicy.{path}"}


def test_a_port_has_one_setting() -> None:
    twice = [{"port": {"number": 80}}, {"port": {"number": 80}}]
    assert paths(trafficPolicy={"portLevelSettings": twice}) == {"trafficPolicy.portLevelSettings[1].port.number"}


def placed(**setting: Any) -> dict[str, Any]:
    return {"trafficPolicy": {"loadBalancer": {"localityLbSetting": setting}, "outlierDetection": {}}}


def shared(start: str, **to: int) -> dict[str, Any]:
    return {"from": start, "to": {place.replace("_", "/"): share for place, share in to.items()}}


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ({"enabled": False}, None),
        ({"failover": [{"from": "eu", "to": "us"}]}, None),
        ({"distribute": [shared("eu/west/*", eu_west=80, us=20), shared("eu/*", eu=100)]}, None),
        ({"distribute": [shared("eu", eu=100)], "failover": [{"from": "eu", "to": "us"}]}, "failover"),
        ({"failoverPriority": ["topology.istio.io/network", "version=v1"]}, None),
        ({"failoverPriority": ["a"], "failover": [{"from": "eu", "to": "us"}]}, "failoverPriority"),
        ({"failoverPriority": ["a"], "distribute": [shared("eu", eu=100)]}, "failoverPriority"),
        ({"failoverPriority": ["a", ""]}, "failoverPriority[1]"),
        ({"failoverPriority": ["=v1"]}, "failoverPriority[0]"),
        ({"failoverPriority": ["a", "a=1"]}, "failoverPriority[1]"),
        ({"failover": [{"from": "eu", "to": "eu"}]}, "failover[0].to"),
        ({"failover": [{"from": "eu/west", "to": "us"}]}, "failover[0].from"),
        ({"failover": [{"from": "eu", "to": "*"}]}, "failover[0].to"),
        ({"distribute": [shared("eu", eu=70, us=20)]}, "distribute[0].to"),
        ({"distribute": [shared("eu", eu=0, us=100)]}, "distribute[0].to.eu"),
        ({"distribute": [shared("eu", eu=100), shared("eu/west", eu=100)]}, "distribute[1].from"),
        ({"distribute": [shared("*/west", eu=100)]}, "distribute[0].from"),
        ({"distribute": [shared("eu//a", eu=100)]}, "distribute[0].from"),
    ],
)
def test_locality_settings(setting: dict[str, Any], path: str | None) -> None:
    wanted = set() if path is None else {f"trafficPolicy.loadBalancer.localityLbSetting.{path}"}
    assert paths(**placed(**setting)) == wanted


def test_failover_needs_outlier_detection_of_the_same_policy_or_the_rule() -> None:
    setting = {"loadBalancer": {"localityLbSetting": {"failover": [{"from": "eu", "to": "us"}]}}}
    of_subset = [{"name": "v1", "trafficPolicy": setting}]
    path = "loadBalancer.localityLbSetting.failover"
    assert paths(trafficPolicy=setting) == {f"trafficPolicy.{path}"}
    assert paths(subsets=of_subset) == {f"subsets[0].trafficPolicy.{path}"}
    assert paths(subsets=of_subset, trafficPolicy={"outlierDetection": {}}) == set()
    at_port = {"portLevelSettings": [setting | {"port": {"number": 80}}], "outlierDetection": {}}
    assert paths(trafficPolicy=at_port) == {f"trafficPolicy.portLevelSettings[0].{path}"}
