"""The objects of Istio and of the Gateway API that the tests of kinds apply, and the bootstrap of the proxies that follow them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.collector import Collector
from harness.isthmus import ControlPlane
from isthmus_controlplane.model.testing import document
from isthmus_proxy.tls.testing import Authority, Issued

PROXIES = ("isthmus", "envoy")
SECRET = b"a secret of at least thirty-two bytes"
ISSUER = "https://issuer.example"
REVIEWS, RATINGS = "reviews.shop", "ratings.shop"
CALLER = "spiffe://td/ns/default/sa/caller"
Port = Mapping[str, int]


class World(NamedTuple):
    """What runs. Ports are by proxy."""

    plane: ControlPlane
    directory: Path
    inbound: Port
    outbound: Port
    bytes_in: Port
    http: Port
    https: Port
    tcp: Port
    mutual: Port
    plain: Port
    secure: Port
    authority: Authority
    admin: Mapping[str, Callable[[], str]]
    spans: Collector


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(issuer: str = ISSUER, secret: bytes = SECRET, **claims: object) -> str:
    head = encoded(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "k"}).encode())
    body = encoded(json.dumps({"iss": issuer, "sub": "user", "exp": 4102444800} | claims).encode())
    signature = hmac.digest(secret, f"{head}.{body}".encode(), hashlib.sha256)
    return f"{head}.{body}.{encoded(signature)}"


def bearer(**claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token(**claims)}"}


KEYS = {"keys": [{"kty": "oct", "kid": "k", "alg": "HS256", "k": encoded(SECRET)}]}
APP = {"selector": {"matchLabels": {"app": "reviews"}}}


def service(host: str, port: int, protocol: str, target: int) -> dict[str, Any]:
    return document("ServiceEntry", host.replace(".", "-"), {
        "hosts": [host], "resolution": "STATIC", "endpoints": [{"address": "127.0.0.1"}],
        "ports": [{"number": port, "name": "main", "protocol": protocol, "targetPort": target}],
    })  # fmt: skip


def labelled(host: str, endpoints: Mapping[int, dict[str, str]]) -> dict[str, Any]:
    """A service with endpoints, given by their ports, with these labels; the first is in the zone of the clients, the rest elsewhere."""
    near, *far = endpoints
    return document("ServiceEntry", host.replace(".", "-"), {
        "hosts": [host], "resolution": "STATIC", "ports": [{"number": 8080, "name": "main", "protocol": "HTTP"}],
        "endpoints": [
            {"address": "127.0.0.1", "ports": {"main": port}, "labels": labels, "locality": place}
            for port, labels, place in ((near, endpoints[near], "here/a"), *((port, endpoints[port], "there/a") for port in far))
        ],
    })  # fmt: skip


def placed(host: str, endpoints: Mapping[str, int]) -> dict[str, Any]:
    """A service with an endpoint, given by its port, in each locality."""
    return document("ServiceEntry", host.replace(".", "-"), {
        "hosts": [host], "resolution": "STATIC", "ports": [{"number": 8080, "name": "main", "protocol": "HTTP"}],
        "endpoints": [
            {"address": "127.0.0.1", "ports": {"main": port}, "locality": where} for where, port in endpoints.items()
        ],
    })  # fmt: skip


# Services by mutual TLS, and whom clients expect there.
ORIGINATED = ("./*.example", *(
    f"./{name}.shop" for name in (
        "renamed", "unchecked", "wrong-name", "wrong-host", "wrong-authority", "files", "credential", "no-certificate",
    )
))  # fmt: skip
MUTUAL = {"mutual": CALLER, "stranger": "spiffe://td/ns/default/sa/stranger"}


def mutual_tls(world: World) -> list[dict[str, Any]]:
    """The port of each sidecar that takes mutual TLS alone, as services of their own."""
    found = []
    for server in PROXIES:
        found.append(document("PeerAuthentication", server, {
            "selector": {"matchLabels": {"proxy": server}}, "portLevelMtls": {str(world.mutual[server]): {"mode": "STRICT"}},
        }))  # fmt: skip
        for name, expected in MUTUAL.items():
            host = f"{server}-{name}.shop"
            tls = {"mode": "ISTIO_MUTUAL", "subjectAltNames": [expected]}
            found += [
                service(host, 8080, "HTTP", world.mutual[server]),
                document("DestinationRule", f"{server}-{name}", {"host": host, "trafficPolicy": {"tls": tls}}),
            ]
    return found


def originated(world: World, caller: Issued) -> list[dict[str, Any]]:
    """Services that are called by the TLS of applications: the gateways' HTTPS, and the sidecars' mutual TLS."""
    root = str(world.authority.root.certificate)
    files = {"clientCertificate": str(caller.certificate), "privateKey": str(caller.key)}
    secure = {"sni": "secure.example", "caCertificates": root}
    gate, inbound = world.https, world.mutual
    found = []
    for host, target, tls in (
        ("secure.example", gate["isthmus"], {"mode": "SIMPLE", "caCertificates": root}),
        ("secret.example", gate["envoy"], {"mode": "SIMPLE", "credentialName": "caller"}),
        ("renamed.shop", gate["envoy"], {"mode": "SIMPLE"} | secure),
        ("unchecked.shop", gate["envoy"], {"mode": "SIMPLE", "sni": "secure.example", "insecureSkipVerify": True}),
        ("wrong-name.shop", gate["envoy"], {"mode": "SIMPLE", "subjectAltNames": ["other.example"]} | secure),
        ("wrong-host.shop", gate["envoy"], {"mode": "SIMPLE", "caCertificates": root}),
        ("wrong-authority.shop", gate["envoy"], {"mode": "SIMPLE", "sni": "secure.example"}),
        (
            "files.shop",
            inbound["envoy"],
            {"mode": "MUTUAL", "caCertificates": root, "subjectAltNames": [CALLER]} | files,
        ),
        (
            "credential.shop",
            inbound["isthmus"],
            {"mode": "MUTUAL", "credentialName": "caller", "subjectAltNames": [CALLER]},
        ),
        (
            "no-certificate.shop",
            inbound["isthmus"],
            {"mode": "SIMPLE", "caCertificates": root, "subjectAltNames": [CALLER]},
        ),
    ):
        rule = {"host": host, "trafficPolicy": {"tls": tls}}
        found += [service(host, 8080, "HTTP", target), document("DestinationRule", host.replace(".", "-"), rule)]
    return found


def traced() -> list[dict[str, Any]]:
    """Spans of every request at the gateways, with tags."""
    tags = {"team": {"literal": {"value": "shop"}}, "user": {"header": {"name": "x-user", "defaultValue": "nobody"}}}
    edge = {"selector": {"matchLabels": {"istio": "ingress"}}}
    return [
        document("Telemetry", "sampled", {"tracing": [{"providers": [{"name": "spans"}], "randomSamplingPercentage": 0}]}, "istio-system"),
        document("Telemetry", "edge", edge | {"tracing": [{"randomSamplingPercentage": 100, "customTags": tags}]}),
    ]  # fmt: skip


def policies() -> list[dict[str, Any]]:
    return [
        document("RequestAuthentication", "tokens", APP | {"jwtRules": [
            {"issuer": ISSUER, "jwks": json.dumps(KEYS), "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}],
             "forwardOriginalToken": True},
        ]}),
        document("AuthorizationPolicy", "allowed", APP | {"action": "ALLOW", "rules": [
            {"to": [{"operation": {"methods": ["GET"], "paths": ["/open*", "/files/{*}/public"]}}]},
            {"from": [{"source": {"requestPrincipals": [f"{ISSUER}/*"]}}], "to": [{"operation": {"notPaths": ["/admin*"]}}]},
            {"when": [{"key": "request.auth.claims[groups]", "values": ["admin*"]}]},
            {"when": [{"key": "request.headers[x-pass]", "values": ["yes"]}], "from": [{"source": {"ipBlocks": ["127.0.0.0/8"]}}]},
            {"from": [{"source": {"ipBlocks": ["10.99.0.0/16"]}}]},
            {"from": [{"source": {"principals": [CALLER.removeprefix("spiffe://")]}}],
             "to": [{"operation": {"paths": ["/echo", "/called"]}}]},
        ]}),
        document("AuthorizationPolicy", "denied", APP | {"action": "DENY", "rules": [
            {"to": [{"operation": {"paths": ["*/secret"], "hosts": ["*.shop"]}}]},
            {"when": [{"key": "request.headers[x-color]", "notValues": ["green", "blue"]}],
             "to": [{"operation": {"paths": ["/open/colored"]}}]},
        ]}),
        document("AuthorizationPolicy", "of-the-mesh", APP | {"action": "DENY", "rules": [
            {"to": [{"operation": {"methods": ["DELETE"]}}]},
        ]}, "istio-system"),
    ]  # fmt: skip


def sidecar(name: str, world: World) -> dict[str, Any]:
    http = {"name": "http", "protocol": "HTTP"}
    return document("Sidecar", name, {
        "workloadSelector": {"labels": {"proxy": name}},
        "ingress": [
            {"port": http | {"number": world.inbound[name]}, "bind": "127.0.0.1", "defaultEndpoint": "127.0.0.1:9000"},
            {"port": http | {"number": world.mutual[name], "name": "mutual"}, "bind": "127.0.0.1",
             "defaultEndpoint": "127.0.0.1:9000"},
            {"port": {"number": world.bytes_in[name], "name": "tcp", "protocol": "TCP"}, "bind": "127.0.0.1",
             "defaultEndpoint": "127.0.0.1:9000"},
        ],
        "egress": [{"hosts": [f"./{REVIEWS}", *(f"./{server}-{name}.shop" for server in PROXIES for name in MUTUAL), *ORIGINATED]}],
    })  # fmt: skip


def gateway(name: str, world: World, certificate: Path, key: Path) -> dict[str, Any]:
    def server(number: int, protocol: str, *hosts: str, name: str = "", **fields: Any) -> dict[str, Any]:
        port = {"number": number, "name": name or protocol.lower(), "protocol": protocol}
        return {"port": port, "bind": "127.0.0.1", "hosts": list(hosts)} | fields

    tls = {"mode": "SIMPLE", "serverCertificate": str(certificate), "privateKey": str(key)}
    return document("Gateway", name, {"selector": {"istio": "ingress", "proxy": name}, "servers": [
        server(world.http[name], "HTTP", "*.example"),
        server(world.https[name], "HTTPS", "secure.example", tls=tls),
        server(world.https[name], "HTTPS", "secret.example", name="secret", tls={"mode": "SIMPLE", "credentialName": "shop"}),
        server(world.tcp[name], "TCP", "*"),
    ]})  # fmt: skip


def virtual_service(name: str, hosts: list[str], gateways: list[str], **routes: Any) -> dict[str, Any]:
    return document("VirtualService", name, {"hosts": hosts, "gateways": gateways} | routes)


def to(host: str, **fields: Any) -> dict[str, Any]:
    return {"route": [{"destination": {"host": host}}]} | fields


def routes() -> list[dict[str, Any]]:
    both = list(PROXIES)
    return [
        virtual_service("shop", ["shop.example", "secure.example", "secret.example"], both, http=[
            {"match": [{"uri": {"prefix": "/ratings"}}]} | to(RATINGS),
            {"match": [{"uri": {"exact": "/moved"}}], "redirect": {"uri": "/new"}},
            to(REVIEWS, headers={"request": {"set": {"x-edge": "yes"}}}),
        ]),
        virtual_service("wild", ["*.wild.example"], both, http=[to(RATINGS)]),
        virtual_service("elsewhere", ["other.example"], ["other"], http=[to(RATINGS)]),
        virtual_service("bytes", ["*"], both, tcp=[to("bytes.shop")]),
        virtual_service("root", ["team.example"], both, http=[
            {"match": [{"uri": {"prefix": "/team"}}, {"uri": {"prefix": "/echo"}}], "timeout": "9s",
             "delegate": {"name": "team", "namespace": "team"}, "headers": {"request": {"set": {"x-by": "root"}}}},
            {"match": [{"uri": {"prefix": "/near"}}]} | to("near.shop"),
            {"match": [{"uri": {"prefix": "/shared"}}]} | to("shared.shop"),
            {"match": [{"uri": {"prefix": "/ranked"}}]} | to("ranked.shop"),
        ]),
        document("VirtualService", "team", {"http": [
            {"match": [{"uri": {"exact": "/team/moved"}}], "redirect": {"uri": "/new"}},
            {"match": [{"method": {"exact": "POST"}}], "headers": {"request": {"set": {"x-by": "team"}}}} | to(RATINGS),
            to(REVIEWS),
        ]}, "team"),
        *gateway_api(),
        document("DestinationRule", "ranked", {"host": "ranked.shop", "trafficPolicy": {"outlierDetection": {}, "loadBalancer": {
            "localityLbSetting": {"failoverPriority": ["istio", "tier=gold"]}}}}),
        document("DestinationRule", "near", {"host": "near.shop", "trafficPolicy": {"outlierDetection": {}}}),
        document("DestinationRule", "shared", {"host": "shared.shop", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {
            "distribute": [{"from": "here/*", "to": {"there": 100}}]}}}}),
    ]  # fmt: skip


def gateway_api() -> list[dict[str, Any]]:
    """Routes of the Gateway API, at both gateways and beside a service in the mesh."""
    istio = "networking.istio.io"
    at_both = [{"group": istio, "kind": "Gateway", "name": name} for name in PROXIES]

    def backend(host: str, **fields: Any) -> dict[str, Any]:
        return {"group": istio, "kind": "Hostname", "name": host, "port": 8080} | fields

    def path(value: str, kind: str = "PathPrefix") -> dict[str, Any]:
        return {"path": {"type": kind, "value": value}}

    def replaced(kind: str, name: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, name: {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/echo"}} | fields}

    headers = {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-share", "value": "100%"}]},
    }
    answer = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x-by", "value": "route"}]}}
    return [
        document("HTTPRoute", "api", {"parentRefs": at_both, "hostnames": ["api.example"], "rules": [
            {"matches": [path("/")], "backendRefs": [backend(REVIEWS)], "filters": [answer]},
            {"matches": [path("/a")], "backendRefs": [backend(RATINGS)], "timeouts": {"request": "9s", "backendRequest": "5s"}},
            {"matches": [path("/a/b", "Exact"), path("/a/.*/z", "RegularExpression") | {"method": "PUT"}],
             "backendRefs": [backend(REVIEWS)]},
            {"matches": [path("/a") | {"headers": [{"name": "x-version", "value": "v1"}]}], "backendRefs": [backend(REVIEWS)]},
            {"matches": [path("/a") | {"queryParams": [{"name": "v", "value": "[12]", "type": "RegularExpression"}]}],
             "backendRefs": [backend(REVIEWS)]},
            {"matches": [path("/rewritten")], "backendRefs": [backend(REVIEWS, filters=[headers])],
             "filters": [replaced("URLRewrite", "urlRewrite", hostname="inner.shop")]},
            {"matches": [path("/redirected")], "filters": [replaced("RequestRedirect", "requestRedirect", hostname="new.example")]},
            {"matches": [path("/secured")], "filters": [{"type": "RequestRedirect", "requestRedirect": {
                "scheme": "https", "port": 8443, "statusCode": 301, "path": {"type": "ReplaceFullPath", "replaceFullPath": "/in"}}}]},
            {"matches": [path("/nobody")], "backendRefs": [backend("nowhere.shop")]},
            {"matches": [path("/nothing")]},
            {"matches": [path("/copied")], "backendRefs": [backend(REVIEWS)],
             "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": backend(RATINGS)}}]},
        ]}),
        document("HTTPRoute", "api-too", {"parentRefs": at_both, "hostnames": ["api.example"], "rules": [
            {"matches": [path("/a/b/c")], "backendRefs": [backend(REVIEWS)]},
        ]}),
        document("GRPCRoute", "calls", {"parentRefs": at_both, "hostnames": ["grpc.example"], "rules": [
            {"matches": [{"method": {"service": "shop.Reviews"}}], "backendRefs": [backend(REVIEWS)]},
            {"matches": [{"method": {"service": "shop.Reviews", "method": "Rate"}}], "backendRefs": [backend(RATINGS)]},
        ]}),
        document("HTTPRoute", "in-mesh", {"parentRefs": [{"group": istio, "kind": "ServiceEntry", "name": "reviews-shop"}], "rules": [
            {"matches": [path("/meshed")], "filters": [replaced("RequestRedirect", "requestRedirect")]},
            {"backendRefs": [backend(REVIEWS)]},
        ]}),
    ]  # fmt: skip


def kubernetes_gateway(name: str, world: World) -> list[dict[str, Any]]:
    """A Gateway of the Gateway API for one proxy, and routes to its listeners."""
    kind, everywhere = "Gateway.gateway.networking.k8s.io", {"namespaces": {"from": "All"}}
    plain, parent = {"port": world.plain[name], "protocol": "HTTP"}, {"name": f"k8s-{name}", "namespace": "default"}

    def route(of: str, namespace: str, backend: dict[str, Any], *hosts: str, **section: Any) -> dict[str, Any]:
        spec = {"parentRefs": [parent | section], "hostnames": list(hosts), "rules": [{"backendRefs": [backend]}]}
        return document("HTTPRoute", f"{of}-{name}", spec, namespace)

    hostname = {"group": "networking.istio.io", "kind": "Hostname", "port": 8080}
    return [
        document(kind, f"k8s-{name}", {
            "gatewayClassName": "mine", "addresses": [{"value": "127.0.0.1"}], "listeners": [
                plain | {"name": "own", "hostname": "*.own.example"},
                plain | {"name": "open", "hostname": "*.open.example", "allowedRoutes": everywhere},
                {"name": "secret", "port": world.secure[name], "protocol": "HTTPS", "hostname": "secret.example",
                 "tls": {"certificateRefs": [{"name": "shop"}]}},
            ],
        }),
        route("both", "default", hostname | {"name": REVIEWS}, "a.own.example", "a.open.example", "elsewhere.example"),
        route("narrow", "default", hostname | {"name": RATINGS}, "b.own.example", "b.open.example", sectionName="own"),
        route("secret", "default", hostname | {"name": RATINGS}, sectionName="secret"),
        route("foreign", "team", {"name": "details", "namespace": "shop", "port": 8080}, "c.open.example", "c.own.example"),
        route("ungranted", "other", {"name": "details", "namespace": "shop", "port": 8080}, "d.open.example"),
    ]  # fmt: skip


def kubernetes(port: int) -> list[dict[str, Any]]:
    """A class, and a service of another namespace that routes of one namespace may lead to."""
    grant = {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "team"}],
        "to": [{"group": "", "kind": "Service", "name": "details"}],
    }
    details = service("details.shop.svc.cluster.local", 8080, "HTTP", port)
    details["metadata"]["namespace"] = "shop"
    return [
        document("GatewayClass", "mine", {"controllerName": "isthmus.io/gateway-controller"}),
        document("ReferenceGrant", "team", grant, "shop"),
        details,
    ]


def bootstrap(kind: str, name: str, xds: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    host, _, port = xds.rpartition(":")
    address = {"socket_address": {"address": host, "port_value": int(port)}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {
            "id": f"{kind}~127.0.0.1~{name}.default~x", "cluster": name, "metadata": dict(metadata),
            "locality": {"region": "here", "zone": "a"},
        },
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC", "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "lds_config": source, "cds_config": source,
        },
        "static_resources": {"clusters": [{
            "name": "xds", "type": "STATIC",
            "typed_extension_protocol_options": {options: {
                "@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        }]},
    }  # fmt: skip
