"""Reads and writes the share of mesh addresses in a DualMode, as a document. Pure.

A view that can be walked has either no rule (its first preference decides for all), or one rule that takes a share to mesh
addresses while the others prefer native ones.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus_controlplane.ctl.migrate.plan import ALL
from isthmus_controlplane.errors import ConfigError

KIND = "DualMode"
API_VERSION = "isthmus.io/v1alpha1"
RULE = "migration"
SIDES = ("sdk", "mesh")
DEFAULT_ORDER = ("mesh", "native")

Document = dict[str, Any]


def find_policy(documents: Iterable[Document], host: str, namespace: str, name: str) -> Document | None:
    """The DualMode of a service, or the one that is named.

    Raises:
        ConfigError: several are, or the named one is none of the service.
    """
    mine = [each for each in documents if _names(each, host) and each["metadata"]["namespace"] == namespace]
    if name:
        mine = [each for each in mine if each["metadata"]["name"] == name]
        if not mine:
            raise ConfigError(f"--policy {name}: is no DualMode of {host} in namespace {namespace}")
        return mine[0]
    whole = [each for each in mine if not each["spec"].get("application") and not each["spec"].get("labels")]
    if len(whole) > 1 or (mine and not whole):
        names = ", ".join(sorted(each["metadata"]["name"] for each in whole or mine))
        raise ConfigError(f"{host} has the policies {names}: say by --policy which one to walk")
    return whole[0] if whole else None


def _names(document: Document, host: str) -> bool:
    """Whether a policy is of ``host``: by its full name, or by a short one of the policy's namespace."""
    own = str(document["spec"].get("host", ""))
    namespace = document["metadata"]["namespace"]
    return bool(own) and host in (own, f"{own}.{namespace}", f"{own}.{namespace}.svc.cluster.local")


def new_policy(host: str, namespace: str, percent: float) -> Document:
    """A policy that shows ``percent`` of the instances by their mesh address to everybody."""
    name = "".join(each if each.isalnum() else "-" for each in host.lower()).strip("-")[:200]
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": f"{name}-migration", "namespace": namespace},
        "spec": {"host": host},
    }
    return with_shares(document, dict.fromkeys(SIDES, percent))


def share_of(document: Document, side: str) -> float:
    """The share of instances that ``side`` is shown by their mesh address, in per cent.

    Raises:
        ConfigError: the view is none that can be walked.
    """
    view = document["spec"].get(side) or {}
    rules, prefer = view.get("rules") or [], view.get("prefer") or []
    path = f"{KIND} {document['metadata']['namespace']}/{document['metadata']['name']}: spec.{side}"
    if not rules:
        first = prefer[0] if prefer else DEFAULT_ORDER[0]
        if first == "gateway":
            raise ConfigError(f"{path}.prefer: 'gateway' comes first: only mesh and native addresses can be walked")
        return ALL if first == "mesh" else 0.0
    if len(rules) > 1 or rules[0]["prefer"][0] != "mesh" or not prefer or prefer[0] != "native":
        raise ConfigError(
            f"{path}: can be walked with one rule that prefers mesh, beside prefer: [native, ...]; "
            "remove the others, or leave the side out by --consumers"
        )
    return float(rules[0].get("percent", 0.0))


def with_shares(document: Document, shares: Mapping[str, float]) -> Document:
    """The document with these shares, by side, and all else as it was."""
    changed = copy.deepcopy(document)
    for side, percent in shares.items():
        view = changed["spec"].get(side) or {}
        rules, prefer = view.get("rules") or [], list(view.get("prefer") or DEFAULT_ORDER)
        rest = [each for each in prefer if each not in ("native", "mesh")]
        rule = dict(rules[0]) if rules else {"name": RULE, "prefer": ["mesh", "native", *rest]}
        changed["spec"][side] = {
            "rules": [{**rule, "percent": percent}],
            "prefer": prefer if rules else ["native", "mesh", *rest],
        }
    return changed
