"""Resolving host names in rules: Istio reads a name without dots as a service of the rule's own namespace."""

from __future__ import annotations

CLUSTER_DOMAIN = "svc.cluster.local"


def candidates(host: str, namespace: str) -> tuple[str, ...]:
    """Return the full names that ``host``, written in an object of ``namespace``, may stand for; the likeliest first."""
    host = host.lower()
    if "." in host:
        return (host,)
    return (f"{host}.{namespace}.{CLUSTER_DOMAIN}", host)


def short_names(host: str, namespace: str) -> tuple[str, ...]:
    """Return the shorter names by which a client in ``namespace`` may call a service of the cluster's domain."""
    suffix = f".{CLUSTER_DOMAIN}"
    if not host.endswith(suffix):
        return ()
    name, _, owner = host.removesuffix(suffix).rpartition(".")
    if not name or "*" in name:
        return ()
    longer = (f"{name}.{owner}", f"{name}.{owner}.svc")
    return (name, *longer) if owner == namespace else longer
