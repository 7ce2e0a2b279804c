"""What the push suite serves: services with endpoints, in the input language of each control plane."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

PORT = 8080
NAME_FORMAT = "outbound|8080||svc-%05d.bench.local"


@dataclass(frozen=True, slots=True)
class PushPlan:
    """``services`` services with ``endpoints`` endpoints each, served on the two ports, with files in ``folder``."""

    folder: Path
    port: int
    admin_port: int
    services: int = 1000
    endpoints: int = 10

    @property
    def services_file(self) -> Path:
        """Where Sovereign's template reads the services."""
        return self.folder / "services.json"

    def addresses(self, service: int, marker: str = "") -> list[str]:
        """The endpoints of a service; ``marker`` replaces the first one."""
        usual = [f"10.{1 + (service >> 8)}.{service & 255}.{1 + number}" for number in range(self.endpoints)]
        return [marker or usual[0], *usual[1:]]


def marker_of(change: int) -> str:
    """The address that the change of that number gives to an endpoint: unlike every usual one, and every earlier one."""
    return f"10.{200 + (change >> 16)}.{change >> 8 & 255}.{change & 255}"


def service_entry(plan: PushPlan, service: int, marker: str = "") -> str:
    """One service as an Istio ServiceEntry, for Isthmus."""
    addresses = "".join(f"  - address: {address}\n" for address in plan.addresses(service, marker))
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: svc-{service:05d}, namespace: bench}}\n"
        f"spec:\n  hosts: [svc-{service:05d}.bench.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n"
        f"  ports:\n  - {{number: {PORT}, name: http, protocol: HTTP}}\n  endpoints:\n{addresses}"
    )


def services_json(plan: PushPlan, changed: dict[int, str]) -> str:
    """All services by cluster name, for Sovereign; ``changed`` holds the markers by service."""
    return json.dumps({NAME_FORMAT % n: plan.addresses(n, changed.get(n, "")) for n in range(plan.services)})


def sovereign_config(plan: PushPlan, template: Path) -> dict[str, object]:
    """Sovereign's configuration: a template in Python, its context read again every second, its shortest interval."""
    context = {"protocol": "file", "serialization": "string", "path": str(plan.services_file)}
    return {
        "templates": {"default": [{"type": "endpoints", "spec": {"protocol": "python", "path": str(template)}}]},
        "template_context": {"refresh": True, "refresh_rate": 1, "context": {"services": context}},
        "logging": {"access_logs": {"enabled": False}, "application_logs": {"enabled": False}},
    }


# Parses the services once per change, not per request, and renders only what was asked for: Sovereign at its best.
SOVEREIGN_TEMPLATE = f'''"""Endpoints of the services that a client names."""

import json

parsed = ["", {{}}]


def address(host):
    return {{"endpoint": {{"address": {{"socket_address": {{"address": host, "port_value": {PORT}}}}}}}}}


def call(resource_names, services, **_):
    if parsed[0] is not services:
        parsed[:] = [services, json.loads(services)]
    for name in resource_names:
        yield {{"cluster_name": name, "endpoints": [{{"lb_endpoints": [address(host) for host in parsed[1][name]]}}]}}
'''
