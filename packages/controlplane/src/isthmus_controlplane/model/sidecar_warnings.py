"""Hosts that Sidecars list but nobody has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from isthmus_controlplane.model.service import Service
from isthmus_controlplane.stores.base import ConfigObject, Problem


def sidecar_warnings(sidecars: Iterable[ConfigObject], services: Mapping[str, Service]) -> Iterator[Problem]:
    """Say which hosts, named without wildcard, no service of their namespace has."""
    for sidecar in sidecars:
        spec: Any = sidecar.spec
        for index, listener in enumerate(spec.egress):
            for position, text in enumerate(listener.hosts):
                namespace, _, host = text.partition("/")
                if namespace == "~" or "*" in host or _exists(namespace, host.lower(), sidecar, services):
                    continue
                path = f"spec.egress[{index}].hosts[{position}]"
                message = f"no ServiceEntry there has the host {host!r}: clients hear of it once there is one"
                yield Problem(f"{sidecar.origin} ({sidecar.key})", path, message)


def _exists(namespace: str, host: str, sidecar: ConfigObject, services: Mapping[str, Service]) -> bool:
    service = services.get(host)
    if service is None:
        return False
    return namespace == "*" or service.namespace == (sidecar.key.namespace if namespace == "." else namespace)
