"""What users give a control plane in files: Envoy resources written by hand, and secrets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.isthmus import write_atomically
from isthmus_controlplane.supplement.testing import make_certificate

SECRET_NAME = "front"
_TYPES = "type.googleapis.com/envoy."
ADS = {"ads": {}, "resource_api_version": "V3"}


def header(name: str, value: str) -> dict[str, Any]:
    """An ``HeaderValueOption``."""
    return {"header": {"key": name, "value": value}}


def answer(text: str) -> dict[str, Any]:
    """A route that answers every request itself."""
    return {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}


def runtime(name: str, **layer: object) -> dict[str, Any]:
    """A layer of runtime values."""
    return {"@type": f"{_TYPES}service.runtime.v3.Runtime", "name": name, "layer": layer}


def extension(name: str, value: str) -> dict[str, Any]:
    """An HTTP filter that stamps answers with a header."""
    mutations = {"response_mutations": [{"append": header("x-stamp", value)}]}
    kind = f"{_TYPES}extensions.filters.http.header_mutation.v3.HeaderMutation"
    typed = {"@type": kind, "mutations": mutations}
    return {"@type": f"{_TYPES}config.core.v3.TypedExtensionConfig", "name": name, "typed_config": typed}


def routes(name: str, text: str) -> dict[str, Any]:
    """A route configuration that answers every request itself."""
    host = {"name": "all", "domains": ["*"], "routes": [answer(text)]}
    return {"@type": f"{_TYPES}config.route.v3.RouteConfiguration", "name": name, "virtual_hosts": [host]}


def scope(name: str, key: str, target: str) -> dict[str, Any]:
    """A scope: requests with that key are routed by ``target``."""
    fragments = {"fragments": [{"string_key": key}]}
    kind = f"{_TYPES}config.route.v3.ScopedRouteConfiguration"
    return {"@type": kind, "name": name, "route_configuration_name": target, "key": fragments}


def virtual_host(name: str, domain: str, text: str) -> dict[str, Any]:
    """A virtual host that is asked for by its name."""
    kind = f"{_TYPES}config.route.v3.VirtualHost"
    return {"@type": kind, "name": name, "domains": [domain], "routes": [answer(text)]}


def listener(name: str, port: int, *, secret: str = "", stamp: str = "", routes: str = "") -> dict[str, Any]:
    """A listener over TLS with a secret, through an extension, as given.

    It is routed by scopes of the header ``x-tenant``, or answers everything with the text ``routes``.
    """
    builder = {
        "header_value_extractor": {
            "name": "x-tenant",
            "element_separator": ",",
            "element": {"separator": "=", "key": "id"},
        }
    }
    discovered = {"config_discovery": {"config_source": ADS, "type_urls": [_HEADER_MUTATION]}}
    filters = [{"name": stamp, **discovered}] if stamp else []
    manager: dict[str, Any] = {
        "@type": f"{_TYPES}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "scoped_routes": {
            "name": name,
            "scope_key_builder": {"fragments": [builder]},
            "rds_config_source": ADS,
            "scoped_rds": {"scoped_rds_config_source": ADS},
        },
        "http_filters": [*filters, {"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    if routes:
        del manager["scoped_routes"]
        manager["route_config"] = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer(routes)]}]}
    chain: dict[str, Any] = {"filters": [{"name": "hcm", "typed_config": manager}]}
    if secret:
        chain["transport_socket"] = _tls(secret)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    kind = f"{_TYPES}config.listener.v3.Listener"
    return {"@type": kind, "name": name, "address": address, "filter_chains": [chain]}


_HEADER_MUTATION = f"{_TYPES}extensions.filters.http.header_mutation.v3.HeaderMutation"
_ROUTER = f"{_TYPES}extensions.filters.http.router.v3.Router"


def _tls(secret: str) -> dict[str, Any]:
    common = {"tls_certificate_sds_secret_configs": [{"name": secret, "sds_config": ADS}]}
    kind = f"{_TYPES}extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": common}}


def write(folder: Path, *resources: dict[str, Any]) -> None:
    """Put resources into the directory of `options`, and nothing else."""
    (folder / "resources").mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "resources" / "all.yaml", json.dumps({"resources": list(resources)}, indent=1))


def options(folder: Path, *resources: dict[str, Any]) -> Sequence[str]:
    """Write resources of every type, or those given, and a secret; return the options that give them to a control plane."""
    write(folder, *(resources or everything()))
    make_certificate(folder / "secrets", SECRET_NAME)
    return ["--resources", str(folder / "resources"), "--secrets", str(folder / "secrets")]


def everything() -> list[dict[str, Any]]:
    """One resource of each type that the control plane does not generate."""
    return [
        runtime("flags", share=10),
        extension("stamp", "one"),
        scope("by-header", "red", "routes-red"),
        virtual_host("80/b.shop", "b.shop", "b"),
        listener("front", 10443, secret=SECRET_NAME),
    ]
