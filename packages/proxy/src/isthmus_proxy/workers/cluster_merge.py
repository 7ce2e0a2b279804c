"""``/clusters`` of several workers as one: the endpoints' counters added up. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_SUMMED = frozenset(
    ("cx_active", "cx_connect_fail", "cx_total", "rq_active", "rq_error", "rq_success", "rq_timeout", "rq_total")
)


def merge_text(bodies: Sequence[str]) -> str:
    """The text form. Lines that are no counters are the first worker's; what only others have comes behind."""
    if len(bodies) == 1:
        return bodies[0]
    lines: dict[str, str] = {}
    for body in bodies:
        for line in body.splitlines():
            key, _, value = line.rpartition("::")
            if key not in lines:
                lines[key] = value
            elif key.rpartition("::")[2] in _SUMMED:
                lines[key] = str(int(lines[key]) + int(value))
    return "".join(f"{key}::{value}\n" for key, value in lines.items())


def merge_json(bodies: Sequence[str]) -> str:
    """The JSON form."""
    documents = [json.loads(body) for body in bodies]
    clusters: dict[str, dict[str, Any]] = {}
    for document in documents:
        for status in document["cluster_statuses"]:
            first = clusters.setdefault(status["name"], status)
            if first is not status:
                _add_hosts(first, status)
    return json.dumps({"cluster_statuses": list(clusters.values())}, indent=1) + "\n"


def _add_hosts(first: dict[str, Any], other: dict[str, Any]) -> None:
    known = {json.dumps(host["address"], sort_keys=True): host for host in first["host_statuses"]}
    for host in other["host_statuses"]:
        same = known.get(json.dumps(host["address"], sort_keys=True))
        if same is None:
            first["host_statuses"].append(host)
            continue
        values = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]}
        for stat in same["stats"]:
            total = int(stat.get("value", 0)) + values.get(stat["name"], 0)
            if total:
                stat["value"] = str(total)
