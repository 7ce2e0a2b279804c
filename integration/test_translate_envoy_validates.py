"""Everything the control plane generates is taken by a real Envoy (``--mode validate``) and by our proxy.

The file is long because most of it is the configuration, as data.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from harness.envoy import OLDEST, validate
from harness.eventually import patience
from isthmus_controlplane.model.inbound import InstanceIndex
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.narrow import narrow
from isthmus_controlplane.model.scope import CertificateFiles, Scope
from isthmus_controlplane.model.testing import admitted, make, rule, service, split, virtual_service
from isthmus_controlplane.model.tracing import TracingProvider
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from isthmus_proxy.tls.testing import Authority

HOST = "reviews.shop"
TO_HOST = [{"destination": {"host": HOST}}]
CLUSTER_LOCAL = "details.default.svc.cluster.local"
LIMITS: dict[str, Any] = {
    "connectionPool": {
        "tcp": {"maxConnections": 9, "connectTimeout": "2s", "idleTimeout": "0s"},
        "http": {"http1MaxPendingRequests": 8, "http2MaxRequests": 7, "maxRequestsPerConnection": 6, "maxRetries": 5,
                 "idleTimeout": "30s", "h2UpgradePolicy": "UPGRADE", "maxConcurrentStreams": 4},
    },
    "outlierDetection": {
        "splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 3, "consecutiveGatewayErrors": 4,
        "consecutive5xxErrors": 0, "interval": "1s", "baseEjectionTime": "600s", "maxEjectionPercent": 100,
        "minHealthPercent": 10,
    },
}  # fmt: skip
LIMITS_OF_INBOUND = {"connectionPool": LIMITS["connectionPool"]}
CORS = {
    "allowOrigins": [{"exact": "*"}, {"prefix": "https://"}, {"prefix": ""}, {"regex": ".*[.]shop"}],
    "allowMethods": ["GET", "POST"], "allowHeaders": ["x-a", "*"], "exposeHeaders": ["x-b"], "maxAge": "24h",
    "allowCredentials": True, "unmatchedPreflights": "IGNORE",
}  # fmt: skip
WARMED = {"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": "60s", "minimumPercent": 5}}}
COOKIE = {"name": "user", "path": "/", "ttl": "0s", "attributes": [{"name": "SameSite", "value": "Lax"}]}
HASHED: list[dict[str, Any]] = [
    {"name": name, "labels": {"version": name}, "trafficPolicy": {"loadBalancer": {"consistentHash": key}}}
    for name, key in (
        ("v1", {"httpCookie": COOKIE, "maglev": {"tableSize": 65537}}),
        ("v2", {"httpQueryParameterName": "user", "ringHash": {"minimumRingSize": 64}}),
        ("v3", {"httpHeaderName": "x-user", "maglev": {}}),
    )
]
ORIGINATED: list[dict[str, Any]] = [
    {"mode": "SIMPLE"},
    {"mode": "SIMPLE", "sni": "a.example", "subjectAltNames": ["a.example"]},
    {"mode": "SIMPLE", "insecureSkipVerify": True},
    {"mode": "SIMPLE", "credentialName": "shop", "subjectAltNames": ["a.example"]},
    {"mode": "MUTUAL", "credentialName": "shop"},
]
KEYS = '{"keys": [{"kty": "oct", "kid": "a", "alg": "HS256", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}'
ACCESS: list[dict[str, Any]] = [
    {
        "from": [
            {"source": {"principals": ["td/ns/a/sa/b", "*"], "namespaces": ["a*"], "ipBlocks": ["10.0.0.0/8"]}},
            {"source": {"notServiceAccounts": ["a/b", "c"], "trustDomains": ["td"], "remoteIpBlocks": ["::1"]}},
            {"source": {"requestPrincipals": ["*", "https://me/you", "me*"], "notPrincipals": ["*/sa/c"]}},
        ],
        "to": [
            {
                "operation": {
                    "hosts": ["*.shop"],
                    "methods": ["GET"],
                    "paths": ["/a*", "*.js", "/b/{*}/{**}"],
                    "notPaths": ["/c"],
                }
            },
            {"operation": {"ports": ["9000"], "notMethods": ["*"]}},
        ],
        "when": [
            {"key": "request.headers[x-a]", "values": ["1", "*"]},
            {"key": "request.auth.claims[a][b]", "values": ["c*"]},
            {"key": "request.auth.audiences", "values": ["me"]},
            {"key": "request.auth.presenter", "notValues": ["me"]},
            {"key": "destination.ip", "values": ["10.0.0.1"]},
            {"key": "connection.sni", "notValues": ["a.shop"]},
        ],
    },
    {"to": [{"operation": {"ports": ["3306"]}}], "when": [{"key": "source.ip", "notValues": ["10.0.0.7"]}]},
]
TOKENS = [
    {
        "issuer": "me",
        "jwks": KEYS,
        "audiences": ["a"],
        "fromHeaders": [{"name": "x-t", "prefix": "T "}],
        "timeout": "1s",
        "fromParams": ["t"],
        "fromCookies": ["c"],
        "outputPayloadToHeader": "x-payload",
        "forwardOriginalToken": True,
        "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}],
        "spaceDelimitedClaims": ["roles"],
    },
    {"issuer": "you", "jwksUri": "https://keys.example/jwks.json"},
    {"issuer": "they", "jwksUri": "http://10.0.0.8:8080/jwks.json"},
]
POLICIES = [
    *(
        make("AuthorizationPolicy", action.lower(), {"action": action, "rules": ACCESS})
        for action in ("ALLOW", "DENY", "AUDIT")
    ),
    make("RequestAuthentication", "tokens", {"jwtRules": TOKENS}, "istio-system"),
    make("PeerAuthentication", "db", {"selector": {"matchLabels": {"app": "db"}}, "mtls": {"mode": "STRICT"}}),
]
HTTP_PORT = {"number": 9080, "name": "http", "protocol": "HTTP"}
SIDECARS = [
    make("Sidecar", "all", {
        "workloadSelector": {"labels": {"app": "governed"}},
        "ingress": [
            {"port": HTTP_PORT, "bind": "127.0.0.1", "captureMode": "NONE", "defaultEndpoint": "127.0.0.1:9000"},
            {"port": {"number": 9081, "name": "a", "protocol": "TCP"}, "defaultEndpoint": "[::1]:9000"} | LIMITS_OF_INBOUND,
        ],
        "egress": [
            {"port": {"number": 8080, "name": "a", "protocol": "HTTP"}, "bind": "127.0.0.2", "captureMode": "NONE", "hosts": ["./*"]},
            {"port": {"number": 99, "name": "a", "protocol": "HTTP"}, "hosts": ["~/*"]},
            {"port": {"number": 3306, "name": "a", "protocol": "MYSQL"}, "hosts": ["./db.shop"]},
            {"hosts": ["*/*.shop"]},
        ],
        "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
    }),
]  # fmt: skip
BUFFER = {
    "name": "envoy.filters.http.buffer",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
        "max_request_bytes": 4096,
    },
}
LIMIT = {
    "name": "envoy.filters.network.connection_limit",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        "stat_prefix": "limit",
        "max_connections": 100,
    },
}
BEFORE_ROUTER = {"filterChain": {"filter": {"subFilter": {"name": "envoy.filters.http.router"}}}}
PATCHES = make(
    "EnvoyFilter",
    "patches",
    {
        "configPatches": [
            {
                "applyTo": "HTTP_FILTER",
                "match": {"listener": BEFORE_ROUTER},
                "patch": {"operation": "INSERT_BEFORE", "value": BUFFER},
            },
            {
                "applyTo": "NETWORK_FILTER",
                "match": {"listener": {"filterChain": {"filter": {"name": "envoy.filters.network.tcp_proxy"}}}},
                "patch": {"operation": "INSERT_BEFORE", "value": LIMIT},
            },
            {
                "applyTo": "CLUSTER",
                "match": {"cluster": {"service": HOST}},
                "patch": {"operation": "MERGE", "value": {"connect_timeout": "3s"}},
            },
            {
                "applyTo": "CLUSTER",
                "patch": {"operation": "ADD", "value": {"name": "added", "type": "STATIC", "connect_timeout": "1s"}},
            },
            {
                "applyTo": "LISTENER",
                "patch": {"operation": "MERGE", "value": {"per_connection_buffer_limit_bytes": 65536}},
            },
            {
                "applyTo": "HTTP_ROUTE",
                "match": {"routeConfiguration": {"vhost": {"name": f"{HOST}:8080"}}},
                "patch": {
                    "operation": "INSERT_FIRST",
                    "value": {"match": {"path": "/added"}, "direct_response": {"status": 204}},
                },
            },
            {
                "applyTo": "VIRTUAL_HOST",
                "patch": {"operation": "MERGE", "value": {"request_headers_to_remove": ["x-removed"]}},
            },
        ]
    },
    "istio-system",
)
OBJECTS: list[ConfigObject] = [
    PATCHES,
    make("Telemetry", "logs", {
        "accessLogging": [{"providers": [{"name": "envoy"}]}],
        "tracing": [{"match": {"mode": "CLIENT"}, "randomSamplingPercentage": 12.5, "customTags": {
            "a": {"literal": {"value": "1"}}, "b": {"environment": {"name": "B", "defaultValue": "2"}}, "c": {"header": {"name": "x-c"}}}},
            {"match": {"mode": "SERVER"}, "providers": [{"name": "web"}]}],
    }, "istio-system"),
    *POLICIES,
    *SIDECARS,
    service(HOST, "v1", "v2", addresses=["240.0.0.1"]),
    rule(HOST, "v1", "v2", trafficPolicy={"loadBalancer": {"simple": "RANDOM"}}),
    virtual_service(
        HOST,
        {
            "name": "items",
            "match": [
                {"uri": {"exact": "/item"}, "method": {"exact": "GET"}, "headers": {"x-a": {"regex": "a.*"}, "x-b": {}}},
                {"uri": {"prefix": "/ITEM"}, "ignoreUriCase": True, "withoutHeaders": {"x-c": {"prefix": "d"}}},
                {"uri": {"regex": "/item/[0-9]+"}, "queryParams": {"q": {"exact": "1"}, "r": {}}},
                {"authority": {"prefix": "reviews"}, "uri": {"prefix": "/authority"}},
            ],
            "route": [
                {"destination": {"host": HOST, "subset": "v1"}, "weight": 75,
                 "headers": {"request": {"set": {"x-version": "v1"}}, "response": {"remove": ["server"]}}},
                {"destination": {"host": HOST, "subset": "v2"}, "weight": 25},
            ],
            "timeout": "3s",
            "retries": {"attempts": 3, "retryOn": "5xx,503,reset", "perTryTimeout": "1s", "backoff": "0.05s",
                        "retryRemoteLocalities": True},
            "rewrite": {"uri": "/", "authority": "reviews.internal"},
            "headers": {"request": {"add": {"x-from": "%DOWNSTREAM_REMOTE_ADDRESS%", "x-percent": "100%%"}}},
        },
        {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new", "redirectCode": 302, "port": 81}},
        {"match": [{"uri": {"prefix": "/moved"}}],
         "redirect": {"prefixRewrite": "/m", "authority": "a", "scheme": "https", "derivePort": "FROM_REQUEST_PORT"}},
        {"match": [{"uri": {"prefix": "/closed"}}], "directResponse": {"status": 503, "body": {"string": "closed"}}},
        {"match": [{"uri": {"prefix": "/regex"}}], "route": TO_HOST,
         "rewrite": {"uriRegexRewrite": {"match": "^/regex/(.*)$", "rewrite": r"/\1"}}},
        {"match": [{"uri": {"prefix": "/faulty"}}], "route": TO_HOST,
         "fault": {"delay": {"fixedDelay": "5s", "percentage": {"value": 0.1}}, "abort": {"httpStatus": 503}}},
        {"match": [{"uri": {"prefix": "/closed-for-grpc"}}], "directResponse": {"status": 200},
         "fault": {"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}}}},
        {"match": [{"uri": {"prefix": "/browser"}}], "route": TO_HOST, "corsPolicy": CORS},
        {"match": [{"uri": {"prefix": "/mirrored"}}], "route": TO_HOST, "mirror": {"host": "hashed.shop", "subset": "v1"},
         "mirrorPercentage": {"value": 0.5}},
        {"match": [{"uri": {"prefix": "/copied"}}], "route": TO_HOST,
         "mirrors": [{"destination": {"host": "hashed.shop"}}, {"destination": {"host": HOST}, "percentage": {"value": 9}}]},
        {"match": [{"uri": {"prefix": "/hashed"}}],
         "route": [{"destination": {"host": "hashed.shop", "subset": name}, "weight": 1} for name in ("v1", "v2", "v3")]},
        {"match": [{"uri": {"prefix": "/team"}}, {"method": {"exact": "PUT"}}], "delegate": {"name": "team"}, "timeout": "2s"},
        {"route": TO_HOST, "retries": {"attempts": 0}},
    ),
    make("VirtualService", "team", {"http": [
        {"match": [{"uri": {"exact": "/team/moved"}}], "redirect": {"uri": "/new"}},
        {"route": TO_HOST, "fault": {"abort": {"httpStatus": 503}}},
    ]}),
    service("near.shop", port=9093, endpoints=[
        {"address": f"10.0.1.{number}", "locality": locality} for number, locality in enumerate(("eu/a", "eu/b", "us/a", "ap"), start=1)
    ]),
    rule("near.shop", subsets=[
        {"name": "ranked", "trafficPolicy": {"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {
            "failoverPriority": ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "version=v1"]}}}},
        {"name": "near", "trafficPolicy": {"outlierDetection": {}}},
        {"name": "shared", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {
            "distribute": [{"from": "eu/*", "to": {"eu/*": 80, "us": 20}}]}}}},
    ]),
    service("ratings.shop", "v1", port=9090, protocol="GRPC"),
    service(CLUSTER_LOCAL, "v1"),
    split(CLUSTER_LOCAL, {"v9": 1}),
    service("external.example", port=80, resolution="DNS", endpoints=[]),
    rule("external.example", trafficPolicy=LIMITS | {"loadBalancer": {"consistentHash": {"useSourceIp": True}}}),
    service("ports.shop", "v1", port=9092),
    rule("ports.shop", trafficPolicy={"portLevelSettings": [WARMED | LIMITS | {"port": {"number": 9092}}]}),
    service("hashed.shop", "v1", "v2", port=9091),
    rule("hashed.shop", subsets=HASHED),
    service("pool.shop", "v1", port=3307, protocol="TCP", addresses=["240.0.0.10"]),
    rule("pool.shop", trafficPolicy=LIMITS | {"loadBalancer": {"consistentHash": {"useSourceIp": True}}}),
    service("db.shop", "v1", port=3306, protocol="MYSQL", addresses=["240.0.0.9", "2001:db8::9"]),
    service("queue.shop", "v1", port=5672, protocol="TCP"),
    rule("queue.shop", "v1", "v2", trafficPolicy=LIMITS),
    virtual_service("queue.shop", tcp=[
        {"match": [{"port": 1}], "route": [{"destination": {"host": "db.shop"}}]},
        {"route": [{"destination": {"host": "queue.shop", "subset": name}, "weight": 5} for name in ("v1", "v2")]},
    ]),
    service("empty.shop"),
    *(service(f"mutual-{protocol.lower()}.shop", "v1", port=port, protocol=protocol, addresses=["240.0.0.20"])
      for port, protocol in ((9094, "HTTP"), (9095, "GRPC"), (9096, "TCP"))),
    *(rule(f"mutual-{protocol}.shop", trafficPolicy={"tls": {
        "mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://td/ns/a/sa/b"]}}) for protocol in ("http", "grpc", "tcp")),
    *(service(f"originated-{protocol.lower()}.shop", "v1", port=port, protocol=protocol, addresses=["240.0.0.21"])
      for port, protocol in ((9097, "HTTP"), (9098, "GRPC"), (9099, "TCP"))),
    *(rule(f"originated-{protocol}.shop", subsets=[
        {"name": f"s{number}", "trafficPolicy": {"tls": tls}} for number, tls in enumerate(ORIGINATED)
    ]) for protocol in ("http", "grpc", "tcp")),
    service("tls.shop", "v1", port=4443, protocol="TLS"), service("https.shop", "v1", port=4443, protocol="HTTPS"),
    make("VirtualService", "tls", {"hosts": ["tls.shop"], "tls": [
        {"match": [{"sniHosts": ["tls.shop"]}], "route": [{"destination": {"host": "https.shop"}}]},
    ]}),
]  # fmt: skip
SCOPES = {
    "redirected": Scope(),
    "tproxy": Scope(interception="TPROXY"),
    "explicit proxy": Scope(interception="NONE", bind="127.0.0.1", http_proxy_port=15001),
    "bound": Scope(interception="NONE", bind="127.0.0.1"),
    "other namespace": Scope(namespace="other"),
    "with a secret": Scope(addresses=("10.0.0.1",), secret="shop"),
    "somewhere": Scope(locality="eu/b"),
    "instance": Scope(addresses=("10.0.0.1",)),
    "instance with certificates": Scope(addresses=("10.0.0.1",), interception="TPROXY"),
    "governed": Scope(labels=(("app", "governed"),)),
    "governed and bound": Scope(labels=(("app", "governed"),), interception="NONE", bind="127.0.0.1"),
    "gateway with certificates": Scope(kind="gateway", labels=(("istio", "ingress"),)),
    "gateway of the Gateway API with certificates": Scope(
        kind="gateway",
        labels=(("gateway.networking.k8s.io/gateway-name", "kubernetes"), ("istio", "ingress")),
    ),
    "strict instance": Scope(addresses=("10.0.0.1",), labels=(("app", "db"),)),
}
COLLECTORS = (
    TracingProvider("calls", "grpc", "ratings.shop", 9090),
    TracingProvider("web", "http", HOST, 8080, "/v1/traces"),
)
ADS = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}]}
ADS_CLUSTER = {
    "name": "ads",
    "type": "STATIC",
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    },
}


def plain(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def with_routes_inline(listener: dict[str, Any], routes: Mapping[str, Message]) -> dict[str, Any]:
    """Validation fetches nothing, so route configurations are put where the listener would ask for them."""
    for chain in listener.get("filter_chains", ()):
        for each in chain["filters"]:
            if "rds" in each["typed_config"]:
                name = each["typed_config"].pop("rds")["route_config_name"]
                each["typed_config"]["route_config"] = plain(routes[name])
    return listener


def with_endpoints_inline(cluster: dict[str, Any], endpoints: Mapping[str, Message]) -> dict[str, Any]:
    """Likewise for load assignments."""
    if cluster.get("type") == "EDS":
        del cluster["eds_cluster_config"]
        cluster |= {"type": "STATIC", "load_assignment": plain(endpoints[cluster["name"]])}
    return cluster


def with_own_secrets(cluster: dict[str, Any]) -> dict[str, Any]:
    """Likewise for secrets: a cluster of the bootstrap cannot wait for ADS, which comes after it."""
    common = cluster.get("transport_socket", {}).get("typed_config", {}).get("common_tls_context", {})
    asked = list(common.get("tls_certificate_sds_secret_configs", ()))
    if "combined_validation_context" in common:
        asked.append(common["combined_validation_context"]["validation_context_sds_secret_config"])
    for each in asked:
        del each["sds_config"]
    return cluster


def secrets(files: CertificateFiles) -> list[dict[str, Any]]:
    pair = {"certificate_chain": {"filename": files.chain}, "private_key": {"filename": files.key}}
    return [
        {"name": "shop", "tls_certificate": pair},
        {"name": "shop-cacert", "validation_context": {"trusted_ca": {"filename": files.root}}},
    ]


def gateway_api() -> list[ConfigObject]:
    """Routes of the Gateway API with everything that they can say."""
    istio = "networking.istio.io"
    edge = {"group": istio, "kind": "Gateway", "name": "edge"}
    mesh = {"group": istio, "kind": "ServiceEntry", "name": "ratings-shop"}

    def to(name: str = HOST, **fields: Any) -> dict[str, Any]:
        return {"group": istio, "kind": "Hostname", "name": name, "port": 8080} | fields

    def value(**fields: str) -> list[dict[str, str]]:
        return [{"name": name, "value": each, "type": "RegularExpression"} for name, each in fields.items()]

    edits = {"set": [{"name": "x-a", "value": "50%"}], "add": [{"name": "x-b", "value": "1"}], "remove": ["x-c"]}
    changed = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": edits},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": edits},
    ]
    prefix = {"type": "ReplacePrefixMatch", "replacePrefixMatch": ""}
    full = {"type": "ReplaceFullPath", "replaceFullPath": "/x"}
    rules: list[dict[str, Any]] = [
        {"matches": [{"path": {"value": "/p/"}, "headers": value(a="b.*"), "queryParams": value(c="d|e"), "method": "PUT"}],
         "filters": [*changed, {"type": "URLRewrite", "urlRewrite": {"hostname": "a", "path": prefix}},
                     {"type": "RequestMirror", "requestMirror": {"backendRef": to(), "fraction": {"numerator": 1, "denominator": 3}}}],
         "backendRefs": [to(weight=9, filters=changed), to("nowhere.shop")],
         "timeouts": {"request": "0s", "backendRequest": "1s"}},
        {"matches": [{"path": {"type": "RegularExpression", "value": "/r/[0-9]+"}}], "backendRefs": [to()],
         "filters": [{"type": "URLRewrite", "urlRewrite": {"path": full}}]},
        {"matches": [{"path": {"value": "/q"}}], "filters": [{"type": "RequestRedirect", "requestRedirect": {
            "path": prefix, "scheme": "https", "hostname": "a", "port": 9, "statusCode": 308}}]},
        {"matches": [{"path": {"type": "Exact", "value": "/f"}}],
         "filters": [{"type": "RequestRedirect", "requestRedirect": {"path": full}}]},
        {"backendRefs": []},
    ]  # fmt: skip
    calls = [
        {
            "matches": [{"method": {"service": "a.B"}, "headers": value(a="b")}],
            "backendRefs": [to()],
            "filters": changed,
        },
        {"matches": [{"method": {"method": "C"}}], "backendRefs": [to()]},
    ]
    return [
        make("HTTPRoute", "both", {"parentRefs": [edge, mesh], "hostnames": ["*.api.example"], "rules": rules}),
        make(
            "GRPCRoute",
            "calls",
            {"parentRefs": [edge, {"name": "kubernetes"}], "hostnames": ["grpc.example"], "rules": calls},
        ),
    ]


def gateways(files: CertificateFiles) -> list[ConfigObject]:
    def server(number: int, protocol: str, *hosts: str, **tls: Any) -> dict[str, Any]:
        port = {"number": number, "name": f"p{number}{hosts[0].replace('*', '')}", "protocol": protocol}
        return {"port": port, "hosts": list(hosts)} | ({"tls": tls} if tls else {})

    pair = {"serverCertificate": files.chain, "privateKey": files.key}
    mutual = pair | {"mode": "MUTUAL", "caCertificates": files.root, "subjectAltNames": ["a", "b"]}
    versions = {
        "minProtocolVersion": "TLSV1_2",
        "maxProtocolVersion": "TLSV1_3",
        "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"],
    }
    servers = [
        server(80, "HTTP", "*.example", "./other.example"),
        server(80, "GRPC", "old.example", httpsRedirect=True),
        server(443, "HTTPS", "a.example", "*.b.example", mode="SIMPLE", **versions, **pair),
        server(443, "HTTPS", "secret.example", mode="MUTUAL", credentialName="shop", subjectAltNames=["a"]),
        server(443, "HTTPS", "c.example", **mutual),
        server(443, "TLS", "db.example", **(mutual | {"mode": "OPTIONAL_MUTUAL"})),
        server(443, "TLS", "*.through.example", mode="PASSTHROUGH"),
        server(9000, "TCP", "*"),
    ]
    routes = [
        {
            "match": [{"gateways": ["edge"], "uri": {"prefix": "/a"}, "sourceLabels": {"istio": "ingress"}}],
            "route": TO_HOST,
        },
        {"fault": {"abort": {"httpStatus": 500}}, "corsPolicy": CORS, "route": TO_HOST},
    ]
    through = [
        {
            "match": [{"sniHosts": ["x.through.example", "*.y.through.example"], "port": 443}],
            "route": [
                {"destination": {"host": "db.shop"}, "weight": 1},
                {"destination": {"host": "pool.shop"}, "weight": 2},
            ],
        }
    ]
    return [
        make("Gateway", "edge", {"selector": {"istio": "ingress"}, "servers": servers}),
        make("VirtualService", "edge", {"hosts": ["*.example", "c.example"], "gateways": ["default/edge"], "http": routes,
                                        "tls": through, "tcp": [{"route": [{"destination": {"host": "db.shop"}}]}]}),
        *gateway_api(),
        make("Gateway.gateway.networking.k8s.io", "kubernetes", {"gatewayClassName": "istio", "listeners": [
            {"name": "plain", "port": 81, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}},
            {"name": "wide", "port": 444, "protocol": "HTTPS", "hostname": "*.k.example", "tls": {"certificateRefs": [{"name": "shop"}]}},
            {"name": "one", "port": 444, "protocol": "HTTPS", "hostname": "a.k.example", "tls": {"certificateRefs": [{"name": "shop"}]}},
        ]}),
        make("VirtualService", "edge-too", {"hosts": ["*"], "gateways": ["edge"], "http": [{"route": TO_HOST}]}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    issued = authority.issue("reviews")
    return CertificateFiles(str(issued.certificate), str(issued.key), str(authority.root.certificate))


def scope_of(name: str, files: CertificateFiles) -> Scope:
    return (
        dataclasses.replace(SCOPES[name], server_files=files, client_files=files)
        if "certificates" in name
        else SCOPES[name]
    )


def bootstrap(scope: Scope, policy: Any, files: CertificateFiles, *, inline: bool) -> dict[str, Any]:
    """A bootstrap with all resources of one scope."""
    admission = admitted([*OBJECTS, *gateways(files)], mesh=MeshSettings(policy, tracing_providers=COLLECTORS))
    instances = InstanceIndex()
    instances.follow(admission.model.services)
    messages = translate(admission.model, narrow(admission.model, scope, instances)).messages
    clusters = [plain(message) for message in messages[CLUSTER_TYPE].values()]
    listeners = [plain(message) for message in messages[LISTENER_TYPE].values()]
    assert len(clusters) > 8
    assert listeners
    if inline:
        clusters = [with_endpoints_inline(with_own_secrets(cluster), messages[ENDPOINT_TYPE]) for cluster in clusters]
        listeners = [with_routes_inline(listener, messages[ROUTE_TYPE]) for listener in listeners]
    return {
        "node": {"id": "sidecar~127.0.0.1~test.default~default.svc.cluster.local", "cluster": "test"},
        "dynamic_resources": {"ads_config": ADS},
        "static_resources": {
            "clusters": [ADS_CLUSTER, *clusters],
            "listeners": listeners,
            "secrets": secrets(files) if inline else [],
        },
    }


@pytest.mark.parametrize("inline", [False, True], ids=["over ADS", "inline"])
@pytest.mark.parametrize("policy", ["REGISTRY_ONLY", "ALLOW_ANY"])
@pytest.mark.parametrize("scope", list(SCOPES))
def test_envoy_takes_every_resource(scope: str, policy: Any, inline: bool, files: CertificateFiles) -> None:
    taken, said = validate(bootstrap(scope_of(scope, files), policy, files, inline=inline))
    assert taken, said


@pytest.mark.parametrize("scope", list(SCOPES))
def test_the_oldest_envoy_takes_every_resource(scope: str, files: CertificateFiles) -> None:
    taken, said = validate(bootstrap(scope_of(scope, files), "ALLOW_ANY", files, inline=True), OLDEST)
    assert taken, said


@pytest.mark.parametrize("scope", list(SCOPES))
def test_our_proxy_takes_every_resource(scope: str, tmp_path: Path, files: CertificateFiles) -> None:
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(bootstrap(scope_of(scope, files), "REGISTRY_ONLY", files, inline=True)))
    command = [sys.executable, "-m", "isthmus_proxy", "validate", "-c", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience())
    assert ended.returncode == 0, ended.stderr
