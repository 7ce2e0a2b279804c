"""The supported fields of the kinds of the Gateway API; `isthmus_controlplane.model.fields` says how they are read."""

from __future__ import annotations

from isthmus_controlplane.model.fields import FieldTable, Supported

_YES = Supported()


def _leaves(*names: str) -> dict[str, Supported]:
    return dict.fromkeys(names, _YES)


_HEADERS: FieldTable = {"set": _leaves("name", "value"), "add": _leaves("name", "value"), "remove": _YES}
_HEADER_FILTERS: FieldTable = {
    "type": _YES, "requestHeaderModifier": _HEADERS, "responseHeaderModifier": _HEADERS,
}  # fmt: skip
_BACKEND: FieldTable = _leaves("group", "kind", "name", "namespace", "port")
_BACKEND_REFERENCE: FieldTable = {**_BACKEND, "weight": _YES, "filters": _HEADER_FILTERS}
_MIRROR: FieldTable = {"backendRef": _BACKEND, "percent": _YES, "fraction": _leaves("numerator", "denominator")}
_PATH: FieldTable = _leaves("type", "replaceFullPath", "replacePrefixMatch")
_GRPC_FILTERS: FieldTable = {**_HEADER_FILTERS, "requestMirror": _MIRROR}
_HTTP_FILTERS: FieldTable = {
    **_GRPC_FILTERS,
    "requestRedirect": {**_leaves("scheme", "hostname", "port", "statusCode"), "path": _PATH},
    "urlRewrite": {"hostname": _YES, "path": _PATH},
}
_VALUES: FieldTable = _leaves("type", "name", "value")
_COMMON: FieldTable = {
    "parentRefs": _leaves("group", "kind", "namespace", "name", "sectionName", "port"),
    "hostnames": _YES,
}
HTTP_ROUTE: FieldTable = {
    **_COMMON,
    "rules": {
        "name": _YES,
        "matches": {"path": _leaves("type", "value"), "headers": _VALUES, "queryParams": _VALUES, "method": _YES},
        "filters": _HTTP_FILTERS,
        "backendRefs": _BACKEND_REFERENCE,
        "timeouts": _leaves("request", "backendRequest"),
    },
}
GRPC_ROUTE: FieldTable = {
    **_COMMON,
    "rules": {
        "name": _YES,
        "matches": {"method": _leaves("type", "service", "method"), "headers": _VALUES},
        "filters": _GRPC_FILTERS,
        "backendRefs": _BACKEND_REFERENCE,
    },
}
_REQUIREMENT: FieldTable = _leaves("key", "operator", "values")
GATEWAY: FieldTable = {
    "gatewayClassName": _YES,
    "addresses": _leaves("type", "value"),
    "listeners": {
        **_leaves("name", "hostname", "port"),
        "protocol": _YES,
        "tls": {"mode": _YES, "certificateRefs": _leaves("group", "kind", "name")},
        "allowedRoutes": {
            "namespaces": {"from": _YES, "selector": {"matchLabels": _YES, "matchExpressions": _REQUIREMENT}},
        },
    },
}
GATEWAY_CLASS: FieldTable = _leaves("controllerName", "description")
REFERENCE_GRANT: FieldTable = {"from": _leaves("group", "kind", "namespace"), "to": _leaves("group", "kind", "name")}
