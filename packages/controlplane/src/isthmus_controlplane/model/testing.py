"""Objects for tests, in few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus_controlplane.model.admission import NOTHING_ADMITTED, Admission, admit
from isthmus_controlplane.model.document import parse_document
from isthmus_controlplane.model.kinds import KINDS
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.stores.yaml_text import load_documents


def document(kind: str, name: str, spec: Mapping[str, Any], namespace: str = "default") -> dict[str, Any]:
    """One YAML document."""
    return {
        "apiVersion": KINDS[kind].api_versions[0],
        "kind": KINDS[kind].in_yaml,
        "metadata": {"name": name, "namespace": namespace},
        "spec": dict(spec),
    }


def make(kind: str, name: str, spec: Mapping[str, Any], namespace: str = "default") -> ConfigObject:
    """One object, checked as a store would."""
    return parse_document(document(kind, name, spec, namespace), f"{name}.yaml#1")


def parse(text: str) -> list[ConfigObject]:
    """The objects of a YAML text."""
    return [parse_document(each.value, f"test.yaml#{each.number}") for each in load_documents(text)]


def service(
    host: str, *versions: str, port: int = 8080, protocol: str = "HTTP", name: str = "", **spec: Any
) -> ConfigObject:
    """A ServiceEntry with one endpoint per version, at 10.0.0.1 and following."""
    endpoints = [
        {"address": f"10.0.0.{number}", "ports": {"main": 9000}, "labels": {"version": version}}
        for number, version in enumerate(versions, start=1)
    ]
    default = {
        "hosts": [host],
        "ports": [{"number": port, "name": "main", "protocol": protocol}],
        "resolution": "STATIC",
        "endpoints": endpoints,
    }
    return make("ServiceEntry", name or host.replace(".", "-"), default | spec)


def rule(host: str, *subsets: str, name: str = "", **spec: Any) -> ConfigObject:
    """A DestinationRule with one subset per version."""
    listed = [{"name": subset, "labels": {"version": subset}} for subset in subsets]
    return make("DestinationRule", name or host.replace(".", "-"), {"host": host, "subsets": listed} | spec)


def split(host: str, weights: Mapping[str, int], *, name: str = "") -> ConfigObject:
    """A VirtualService that splits a host over subsets."""
    route = [{"destination": {"host": host, "subset": subset}, "weight": weight} for subset, weight in weights.items()]
    return virtual_service(host, {"route": route}, name=name)


def virtual_service(host: str, *http: Mapping[str, Any], name: str = "", **spec: Any) -> ConfigObject:
    """A VirtualService for one host."""
    default = {"hosts": [host], "http": [dict(each) for each in http]}
    return make("VirtualService", name or host.replace(".", "-"), default | spec)


def policy(name: str, *, namespace: str = "default", **spec: Any) -> ConfigObject:
    """A DualMode."""
    return make("DualMode", name, spec, namespace)


def admitted(
    objects: Iterable[ConfigObject], previous: Admission = NOTHING_ADMITTED, mesh: MeshSettings | None = None
) -> Admission:
    """Admit objects."""
    return admit({obj.key: obj for obj in objects}, previous, mesh or MeshSettings())
