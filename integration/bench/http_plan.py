"""One HTTP proxy task in the configuration language of every subject: same hops, same keep-alive, one worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


@dataclass(frozen=True, slots=True)
class HttpPlan:
    """Proxy HTTP/1.1 from ``port`` to an origin on loopback, with ``http2`` HTTP/2 on both sides (in Envoy's language only).

    ``observed`` switches an access log in ``folder`` and stats on. ``clusters`` adds that many clusters without traffic.
    ``rules`` puts that many routes with header conditions, none of which the load meets, before the one that serves
    (Envoy's language only). ``services`` puts that many routes there instead, one a service, by ``match``: ``path`` or ``prefix``.
    """

    port: int
    admin_port: int
    origin_port: int
    folder: Path
    observed: bool = False
    clusters: int = 0
    rules: int = 0
    http2: bool = False
    services: int = 0
    match: str = "prefix"

    @property
    def access_log(self) -> Path:
        """Where a subject writes its access log when observed."""
        return self.folder / "access.log"


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name: str, port: int, *, http2: bool = False) -> dict[str, object]:
    """A static cluster of one endpoint on loopback."""
    endpoint = {"endpoint": {"address": _address(port)}}
    # Circuit breakers wide open in every subject: the load has more connections than Envoy's default of 1024 allows.
    limit = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    made: dict[str, object] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limit]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if http2:
        options = {"@type": f"type.googleapis.com/{OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}
        made["typed_extension_protocol_options"] = {OPTIONS: options}
    return made


def _http_connection_manager(plan: HttpPlan) -> dict[str, object]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "15s"}}
    services = [_service(number, plan.match) for number in range(plan.services)]
    routes = [*(_rule(number) for number in range(plan.rules)), *services, route]
    manager: dict[str, object] = {
        "@type": HCM,
        "stat_prefix": "bench",
        "route_config": {"name": "bench", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    if plan.observed:
        log = {"name": "file", "typed_config": {"@type": FILE_LOG, "path": str(plan.access_log)}}
        manager["access_log"] = [log]
    return manager


def _rule(number: int) -> dict[str, object]:
    """One of many grey-release rules: a zone, and a key of the request."""
    zone = {"name": "x-zone", "string_match": {"exact": f"zone-{number % 8}"}}
    key = {"name": "x-request-key", "string_match": {"exact": f"rule-{number}"}}
    return {"match": {"prefix": "/", "headers": [zone, key]}, "route": {"cluster": "origin", "timeout": "15s"}}


def _service(number: int, match: str) -> dict[str, object]:
    """The route of one service: ``/service-N/100b`` is ``/100b`` of the origin."""
    if match == "path":
        condition, rewrite = {"path": f"/service-{number}/100b"}, "/100b"
    else:
        condition, rewrite = {"prefix": f"/service-{number}/"}, "/"
    return {"match": condition, "route": {"cluster": "origin", "timeout": "15s", "prefix_rewrite": rewrite}}


def envoy_bootstrap(plan: HttpPlan) -> dict[str, object]:
    """The bootstrap that both Envoy and Isthmus run, unchanged."""
    chain = {"filters": [{"name": "http", "typed_config": _http_connection_manager(plan)}]}
    listener = {"name": "bench", "address": _address(plan.port), "filter_chains": [chain]}
    idle = [cluster(f"idle-{number}", plan.origin_port) for number in range(plan.clusters)]
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": _address(plan.admin_port)},
        "static_resources": {
            "listeners": [listener],
            "clusters": [cluster("origin", plan.origin_port, http2=plan.http2), *idle],
        },
    }


def haproxy_config(plan: HttpPlan) -> str:
    """HAProxy with one thread; its log goes to a ring it keeps itself, since it writes no files."""
    log = "  log stdout format raw local0\n  option httplog\n" if plan.observed else ""
    idle = "".join(
        f"backend idle-{number}\n  server one 127.0.0.1:{plan.origin_port}\n" for number in range(plan.clusters)
    )
    return (
        "global\n  nbthread 1\n  maxconn 10100\n  no strict-limits\n  stats socket "
        f"{plan.folder}/haproxy.sock mode 600 level admin\n"
        "defaults\n  mode http\n"
        f"{log}"
        "  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  option http-keep-alive\n  http-reuse always\n"
        f"frontend bench\n  bind 127.0.0.1:{plan.port}\n  default_backend origin\n"
        f"backend origin\n  server one 127.0.0.1:{plan.origin_port}\n{idle}"
    )


def nginx_config(plan: HttpPlan) -> str:
    """nginx with one worker and upstream keep-alive."""
    log = f"access_log {plan.access_log};" if plan.observed else "access_log off;"
    idle = "".join(
        f"upstream idle-{number} {{ server 127.0.0.1:{plan.origin_port}; keepalive 1; }}\n"
        for number in range(plan.clusters)
    )
    return f"""daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 65536;
pid {plan.folder}/nginx.pid; error_log {plan.folder}/error.log error;
events {{ worker_connections 30000; }}
http {{
  {log} {_nginx_folders(plan.folder)}
  keepalive_requests 1000000000;
  upstream origin {{ server 127.0.0.1:{plan.origin_port}; keepalive 512; keepalive_requests 1000000000; }}
  {idle}
  server {{
    listen 127.0.0.1:{plan.port} backlog=4096;
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }}
  }}
}}
"""


def _nginx_folders(folder: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)


def origin_config(port: int, folder: Path, bodies: dict[str, int]) -> str:
    """An nginx that answers ``/NAME`` with a file of so many bytes, from the page cache."""
    return f"""daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 65536;
pid {folder}/origin.pid; error_log {folder}/origin-error.log error;
events {{ worker_connections 30000; }}
http {{
  access_log off; {_nginx_folders(folder)} sendfile on; tcp_nopush on; tcp_nodelay on;
  open_file_cache max=100; keepalive_requests 1000000000; default_type application/octet-stream;
  server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}; }}
}}
# bodies: {", ".join(f"{name}={size}" for name, size in bodies.items())}
"""
