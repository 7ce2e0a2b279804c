"""Istio documents for control planes that run as processes. Pure but for `store`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from harness.isthmus import write_atomically


def service(host: str, *ports: int, number: int = 80, protocol: str = "HTTP") -> dict[str, Any]:
    """A ServiceEntry with an endpoint on the loopback address per port; its version label is the port."""
    endpoints = [{"address": "127.0.0.1", "ports": {"main": each}, "labels": {"version": f"v{each}"}} for each in ports]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": host.replace(".", "-"), "namespace": "default"},
        "spec": {
            "hosts": [host],
            "ports": [{"number": number, "name": "main", "protocol": protocol}],
            "resolution": "STATIC",
            "location": "MESH_INTERNAL",
            "endpoints": endpoints,
        },
    }


def routes(host: str, *http: dict[str, Any]) -> dict[str, Any]:
    """A VirtualService."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": host.replace(".", "-"), "namespace": "default"},
        "spec": {"hosts": [host], "http": list(http)},
    }


def rule(host: str, *versions: str) -> dict[str, Any]:
    """A DestinationRule with a subset per version."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": host.replace(".", "-"), "namespace": "default"},
        "spec": {"host": host, "subsets": [{"name": each, "labels": {"version": each}} for each in versions]},
    }


def to(host: str, subset: str = "", weight: int = 0) -> dict[str, Any]:
    """One destination of a route."""
    destination = {"host": host} | ({"subset": subset} if subset else {})
    return {"destination": destination} | ({"weight": weight} if weight else {})


def write(folder: Path, *documents: dict[str, Any]) -> None:
    """Put the documents into the store of `store`, and nothing else."""
    write_atomically(folder / "config" / "world.yaml", yaml.safe_dump_all(documents, sort_keys=False))


def store(folder: Path, *documents: dict[str, Any]) -> str:
    """A directory store that holds the documents; its URL."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    write(folder, *documents)
    return f"dir:{folder / 'config'}"
