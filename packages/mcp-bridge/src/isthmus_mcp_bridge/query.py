"""Questions to a running bridge's administration endpoint, and the answers as text; for the command line."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from isthmus_mcp_bridge.errors import BridgeError

TIMEOUT_S = 30.0
MAX_DETAILED = 50
"""Changed services of which a difference names the fields."""


class Admin:
    """The administration endpoint of a running bridge."""

    def __init__(self, address: str) -> None:
        """``address`` is ``HOST:PORT``."""
        self._base = f"http://{address}"

    def get(self, path: str, **query: str) -> Any:
        """The JSON answer. Raises BridgeError."""
        url = f"{self._base}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the scheme is ours
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise BridgeError(error.read(1000).decode(errors="replace").strip() or f"{url}: {error}") from error
        except (OSError, ValueError) as error:
            raise BridgeError(f"{url}: no answer ({error}); --admin must name the bridge's admin.address") from error


def sources_text(answer: Mapping[str, Any]) -> str:
    """``/sources`` as a table."""
    rows: list[tuple[str, ...]] = [("NAME", "STATE", "SINCE", "ENDPOINTS", "HELD", "DRIFTS", "PROBLEMS", "REASON")]
    rows += [
        (one["name"], one["state"], f"{one['in_state_s']:g}s", str(one["endpoints"]), str(len(one["held_origins"])),
         str(one["drifts"]), str(one["problems"]), one["reason"])
        for one in answer["sources"]
    ]  # fmt: skip
    return table(rows)


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as they need."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def explanation_text(answer: Mapping[str, Any]) -> str:
    """``/explain`` for people."""
    return "\n\n".join("\n".join(_service_lines(one)) for one in answer["services"])


def _service_lines(one: Mapping[str, Any]) -> Iterator[str]:
    yield f"{one['service']}: {'published' if one['published'] else 'not published'}"
    for source in one["sources"]:
        marks = [f"held: {', '.join(source['held'])}"] if source["held"] else []
        marks += [f"damped: {', '.join(source['damped'])}"] if source["damped"] else []
        marks += ["restored from disk"] if source["restored_from_disk"] else []
        revisions = ", ".join(f"{item['origin']} {item['revision']}".rstrip() for item in source["origins"])
        tail = "".join(f"; {mark}" for mark in marks)
        yield f"  registry {source['name']} is {source['state']} ({revisions}){tail}"
    for port in one["ports"]:
        yield f"  port {port['name']} {port['number']} {port['protocol']}: {port['rule']} [{'; '.join(port['claims'])}]"
    addresses = one["addresses"]
    if addresses["value"]:
        yield f"  addresses {', '.join(addresses['value'])}: {addresses['winner'] or addresses['rule']}"
    for endpoint in one["endpoints"]:
        yield from _endpoint_lines(endpoint)
    for conflict in one["conflicts"]:
        yield f"  conflict {conflict['path']} {conflict['value']}: {conflict['message']}"
    if one["differs_from_what_registries_say_now"]:
        yield "  what is published differs from what the registries say at this moment (see diff)"


def _endpoint_lines(endpoint: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {'+' if endpoint['published'] else '-'} {endpoint['address']}: {endpoint['rule']}"
    for field in ("weight", "labels", "locality", "service_account"):
        value, winner = endpoint[field]["value"], endpoint[field]["winner"]
        if value and winner != "default":
            shown = ",".join(f"{key}={text}" for key, text in value.items()) if isinstance(value, dict) else value
            yield f"      {field} {shown} ({winner})"
    if "warm_up" in endpoint:
        yield f"      warming up: {endpoint['warm_up']['share_percent']}% of its weight"
    for claim in endpoint["claims"]:
        weight = "" if claim["weight"] is None else f", weight {claim['weight']}"
        yield f"      {claim['source']}: {claim['presence']}{weight}, {claim['raw_id'] or claim['origin']}"


def diff_text(changes: list[Mapping[str, Any]]) -> str:
    """Changes of services, one a line and their parts below."""
    lines = []
    for one in changes:
        lines.append(f"{ {'added': '+', 'removed': '-'}.get(one['change'], '~') } {one['service']}")
        lines += [
            f"    {name.replace('_', ' ')}: {one[name]['count']} ({', '.join(one[name]['first'])})"
            for name in ("endpoints_added", "endpoints_removed", "endpoints_changed")
            if name in one
        ]
        if one.get("fields"):
            lines.append(f"    other fields: {', '.join(one['fields'])}")
    return "\n".join(lines) if lines else "no difference"


def compare_collections(
    served: Mapping[str, str],
    shadow: Mapping[str, str],
    served_entry: Callable[[str], Any],
    shadow_entry: Callable[[str], Any],
) -> list[Mapping[str, Any]]:
    """What would change from what is served to what a shadow run made; fields are named for the first changed ones."""
    changes: list[Mapping[str, Any]] = []
    changes += [{"service": name, "change": "removed"} for name in sorted(served.keys() - shadow.keys())]
    changes += [{"service": name, "change": "added"} for name in sorted(shadow.keys() - served.keys())]
    changed = sorted(name for name in served.keys() & shadow.keys() if served[name] != shadow[name])
    for number, name in enumerate(changed):
        fields = _changed_fields(served_entry(name), shadow_entry(name)) if number < MAX_DETAILED else []
        changes.append({"service": name, "change": "changed", "fields": fields})
    return changes


def _changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = []
    for part in ("metadata", "spec"):
        before, after = old.get(part, {}), new.get(part, {})
        names = sorted((before.keys() | after.keys()) - {"version"})
        found += [f"{part}.{name}" for name in names if before.get(name) != after.get(name)]
    return found
