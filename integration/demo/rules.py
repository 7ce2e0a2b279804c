"""The shop's routing rules as Istio YAML, for ``isthmusctl apply``. Pure."""

from collections.abc import Mapping
from typing import Any

import yaml

API = "networking.istio.io/v1"
# What may be sent again without harm to anybody: the request has not been processed, or a reachable gateway said so.
RETRY_ON = "connect-failure,refused-stream,reset,gateway-error"


def subsets(host: str, versions: list[str]) -> dict[str, Any]:
    """The DestinationRule that names a subset per version."""
    return {
        "apiVersion": API,
        "kind": "DestinationRule",
        "metadata": {"name": _name(host), "namespace": "default"},
        "spec": {
            "host": host,
            "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
            "subsets": [{"name": version, "labels": {"version": version}} for version in versions],
        },
    }


def split(host: str, weights: Mapping[str, int], *, retries: int = 0) -> dict[str, Any]:
    """The VirtualService that splits a host's traffic over subsets by weight.

    ``retries: 0`` is written down: without a policy Istio's default of two attempts applies.
    """
    policy: dict[str, Any] = {"attempts": retries}
    if retries:
        policy["retryOn"] = RETRY_ON
    route = [{"destination": {"host": host, "subset": subset}, "weight": weight} for subset, weight in weights.items()]
    return {
        "apiVersion": API,
        "kind": "VirtualService",
        "metadata": {"name": _name(host), "namespace": "default"},
        "spec": {"hosts": [host], "http": [{"route": route, "retries": policy}]},
    }


def dump(*documents: Mapping[str, Any]) -> str:
    """A YAML file of several documents."""
    return yaml.safe_dump_all([dict(document) for document in documents], sort_keys=False)


def _name(host: str) -> str:
    return host.replace(".", "-")
