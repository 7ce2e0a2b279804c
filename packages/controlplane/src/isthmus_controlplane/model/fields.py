"""The declarative table of supported fields per kind, and the check of a message against it.

A field that is set but not in the table is refused by path: nothing that a user writes is ignored. The tables use
the names of Istio's YAML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Union

from google.protobuf import json_format
from google.protobuf.message import Message

MAX_SHOWN_VALUE = 120


@dataclasses.dataclass(frozen=True, slots=True)
class Supported:
    """A leaf of a table: the whole field is supported, or only some of its enum values."""

    values: tuple[str, ...] = ()


FieldTable = Mapping[str, Union["FieldTable", Supported]]
YES = Supported()


@dataclasses.dataclass(frozen=True, slots=True)
class FieldProblem:
    """One refused field: its path in YAML spelling, and what is wrong with it."""

    path: str
    message: str


def _leaves(*names: str) -> dict[str, Supported]:
    return dict.fromkeys(names, YES)


_DESTINATION: FieldTable = {**_leaves("host", "subset"), "port": _leaves("number")}
_TCP_ROUTE: FieldTable = {
    "match": _leaves("port", "gateways", "sourceLabels", "sourceNamespace"),
    "route": {"destination": _DESTINATION, "weight": YES},
}
_PERCENT: FieldTable = _leaves("value")
_HEADERS: FieldTable = {"request": _leaves("set", "add", "remove"), "response": _leaves("set", "add", "remove")}
_LOAD_BALANCER: FieldTable = {
    "simple": Supported(("UNSPECIFIED", "LEAST_CONN", "RANDOM", "ROUND_ROBIN", "LEAST_REQUEST")),
    "consistentHash": {
        **_leaves("httpHeaderName", "useSourceIp", "httpQueryParameterName", "minimumRingSize"),
        "httpCookie": {**_leaves("name", "path", "ttl"), "attributes": _leaves("name", "value")},
        "ringHash": _leaves("minimumRingSize"),
        "maglev": _leaves("tableSize"),
    },
    "warmup": _leaves("duration", "minimumPercent"),
    "warmupDurationSecs": YES,
    "localityLbSetting": {
        **_leaves("enabled", "failoverPriority"),
        "distribute": _leaves("from", "to"),
        "failover": _leaves("from", "to"),
    },
}
_CONNECTION_POOL: FieldTable = {
    "tcp": _leaves("maxConnections", "connectTimeout", "idleTimeout"),
    "http": _leaves(
        "http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries", "idleTimeout",
        "h2UpgradePolicy", "maxConcurrentStreams",
    ),
}  # fmt: skip
_OUTLIER_DETECTION: FieldTable = _leaves(
    "splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures", "consecutiveGatewayErrors",
    "consecutive5xxErrors", "interval", "baseEjectionTime", "maxEjectionPercent", "minHealthPercent",
)  # fmt: skip
_POLICY_OF_A_PORT: FieldTable = {
    "loadBalancer": _LOAD_BALANCER,
    "connectionPool": _CONNECTION_POOL,
    "outlierDetection": _OUTLIER_DETECTION,
    "tls": {
        "mode": Supported(("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")),
        **_leaves(
            "subjectAltNames", "sni", "clientCertificate", "privateKey", "caCertificates", "credentialName",
            "insecureSkipVerify",
        ),
    },
}  # fmt: skip
_TRAFFIC_POLICY: FieldTable = {
    **_POLICY_OF_A_PORT,
    "portLevelSettings": {**_POLICY_OF_A_PORT, "port": _leaves("number")},
}

WORKLOAD_ENTRY: FieldTable = _leaves("address", "ports", "labels", "locality", "weight", "serviceAccount")
SERVICE_ENTRY: FieldTable = {
    **_leaves("hosts", "addresses", "location", "exportTo"),
    "ports": _leaves("number", "protocol", "name", "targetPort"),
    "resolution": Supported(("STATIC", "DNS")),
    "endpoints": WORKLOAD_ENTRY,
    "workloadSelector": _leaves("labels"),
}
DESTINATION_RULE: FieldTable = {
    **_leaves("host", "exportTo"),
    "trafficPolicy": _TRAFFIC_POLICY,
    "subsets": {**_leaves("name", "labels"), "trafficPolicy": _TRAFFIC_POLICY},
}
_SIDECAR_PORT: FieldTable = _leaves("number", "protocol", "name")
SIDECAR: FieldTable = {
    "workloadSelector": _leaves("labels"),
    "ingress": {
        "port": _SIDECAR_PORT,
        **_leaves("bind", "captureMode", "defaultEndpoint"),
        "connectionPool": _CONNECTION_POOL,
    },
    "egress": {"port": _SIDECAR_PORT, **_leaves("bind", "captureMode", "hosts")},
    "inboundConnectionPool": _CONNECTION_POOL,
    "outboundTrafficPolicy": _leaves("mode"),
}
_CHAIN: FieldTable = {
    **_leaves("name", "sni", "transportProtocol", "applicationProtocols", "destinationPort"),
    "filter": {"name": YES, "subFilter": _leaves("name")},
}
_VIRTUAL_HOST: FieldTable = {**_leaves("name", "domainName"), "route": _leaves("name", "action")}
ENVOY_FILTER: FieldTable = {
    "workloadSelector": _leaves("labels"),
    "priority": YES,
    "configPatches": {
        "applyTo": Supported(
            (
                "LISTENER",
                "FILTER_CHAIN",
                "NETWORK_FILTER",
                "HTTP_FILTER",
                "ROUTE_CONFIGURATION",
                "VIRTUAL_HOST",
                "HTTP_ROUTE",
                "CLUSTER",
            )
        ),
        "match": {
            "context": Supported(("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY")),
            "listener": {**_leaves("name", "portNumber"), "filterChain": _CHAIN},
            "routeConfiguration": {**_leaves("name", "portNumber"), "vhost": _VIRTUAL_HOST},
            "cluster": _leaves("name", "portNumber", "service", "subset"),
        },
        "patch": {
            "operation": Supported(
                (
                    "MERGE",
                    "ADD",
                    "REMOVE",
                    "INSERT_BEFORE",
                    "INSERT_AFTER",
                    "INSERT_FIRST",
                    "REPLACE",
                )
            ),
            "value": YES,
        },
    },
}
TELEMETRY: FieldTable = {
    "selector": _leaves("matchLabels"),
    "accessLogging": {"match": _leaves("mode"), "providers": _leaves("name"), "disabled": YES},
    "tracing": {
        "match": _leaves("mode"),
        "providers": _leaves("name"),
        **_leaves("randomSamplingPercentage", "disableSpanReporting", "customTags"),
    },
}
WORKLOAD_GROUP: FieldTable = {
    "metadata": _leaves("labels", "annotations"),
    "template": _leaves("ports", "labels", "locality", "weight", "serviceAccount"),
}
GATEWAY: FieldTable = {
    "selector": YES,
    "servers": {
        "port": _leaves("number", "protocol", "name"),
        **_leaves("bind", "hosts", "name"),
        "tls": {
            **_leaves(
                "httpsRedirect",
                "serverCertificate",
                "privateKey",
                "caCertificates",
                "subjectAltNames",
                "verifyCertificateSpki",
                "verifyCertificateHash",
                "cipherSuites",
                "credentialName",
            ),
            "mode": Supported(("PASSTHROUGH", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")),
            "minProtocolVersion": Supported(("TLS_AUTO", "TLSV1_2", "TLSV1_3")),
            "maxProtocolVersion": Supported(("TLS_AUTO", "TLSV1_2", "TLSV1_3")),
            "tlsCertificates": _leaves("serverCertificate", "privateKey"),
        },
    },
}
VIRTUAL_SERVICE: FieldTable = {
    **_leaves("hosts", "gateways", "exportTo"),
    "tcp": _TCP_ROUTE,
    "tls": {
        "match": _leaves("sniHosts", "port", "gateways", "sourceLabels", "sourceNamespace"),
        "route": {"destination": _DESTINATION, "weight": YES},
    },
    "http": {
        **_leaves("name", "timeout"),
        "delegate": _leaves("name", "namespace"),
        "match": _leaves(
            "name", "uri", "method", "authority", "headers", "port", "gateways", "queryParams",
            "ignoreUriCase", "withoutHeaders", "sourceLabels", "sourceNamespace",
        ),
        "route": {"destination": _DESTINATION, "weight": YES, "headers": _HEADERS},
        "redirect": _leaves("uri", "authority", "port", "derivePort", "scheme", "redirectCode", "prefixRewrite"),
        "directResponse": {"status": YES, "body": _leaves("string", "bytes")},
        "rewrite": {**_leaves("uri", "authority"), "uriRegexRewrite": _leaves("match", "rewrite")},
        "retries": _leaves(
            "attempts", "perTryTimeout", "retryOn", "retryIgnorePreviousHosts", "retryRemoteLocalities", "backoff",
        ),
        "headers": _HEADERS,
        "mirror": _DESTINATION,
        "mirrorPercentage": _PERCENT,
        "mirrors": {"destination": _DESTINATION, "percentage": _PERCENT},
        "fault": {
            "delay": {"fixedDelay": YES, "percentage": _PERCENT},
            "abort": {**_leaves("httpStatus", "grpcStatus"), "percentage": _PERCENT},
        },
        "corsPolicy": _leaves(
            "allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials",
            "unmatchedPreflights",
        ),
    },
}  # fmt: skip

DUAL_MODE: FieldTable = {
    **_leaves("host", "application", "labels", "exportTo", "overlap"),
    "sdk": {"prefer": YES, "rules": _leaves("name", "percent", "prefer")},
    "mesh": {"prefer": YES, "rules": _leaves("name", "percent", "prefer")},
    "gateway": _leaves("host", "port"),
    "overrides": _leaves("instance", "sdk", "mesh"),
}


def check_fields(message: Message, table: FieldTable, path: str = "spec") -> Iterator[FieldProblem]:
    """Yield every set field of ``message`` that ``table`` does not hold."""
    for field, value in message.ListFields():
        name = field.json_name
        below = f"{path}.{name}"
        entry = table.get(name)
        if entry is None:
            yield FieldProblem(below, f"{shown(value)} is set, but this field is not supported: remove it")
        elif isinstance(entry, Supported):
            yield from _check_values(field, value, entry, below)
        else:
            yield from _check_nested(field, value, entry, below)
    yield from _check_unset_enums(message, table, path)


def _check_nested(field: Any, value: Any, table: FieldTable, path: str) -> Iterator[FieldProblem]:
    if not field.is_repeated:
        yield from check_fields(value, table, path)
        return
    for index, item in enumerate(value):
        yield from check_fields(item, table, f"{path}[{index}]")


def _check_values(field: Any, value: Any, entry: Supported, path: str) -> Iterator[FieldProblem]:
    if entry.values and field.enum_type is not None:
        number = field.enum_type.values_by_number.get(value)
        name = number.name if number is not None else str(value)
        if name not in entry.values:
            yield FieldProblem(path, f"{name} is not supported: choose one of {', '.join(entry.values)}")


def _check_unset_enums(message: Message, table: FieldTable, path: str) -> Iterator[FieldProblem]:
    """An enum left at its zero value is not listed as set, yet that value may be one that is not supported."""
    for field in message.DESCRIPTOR.fields:
        entry = table.get(field.json_name)
        if not isinstance(entry, Supported) or field.enum_type is None or field.has_presence:
            continue
        if getattr(message, field.name) == 0:
            yield from _check_values(field, 0, entry, f"{path}.{field.json_name}")


def shown(value: object) -> str:
    """Render a field's value for a message, cut to a bounded length."""
    if isinstance(value, Message):
        text = json_format.MessageToJson(value, indent=None)
    elif isinstance(value, str | bytes | bool | int | float):
        text = repr(value)
    else:
        text = str(value)
    text = text.strip().replace("\n", " ")
    return text if len(text) <= MAX_SHOWN_VALUE else text[: MAX_SHOWN_VALUE - 1] + "…"
