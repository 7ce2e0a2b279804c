"""What ``isthmusctl status`` prints. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.ctl.table import table


def status_text(status: Any) -> str:
    """Render the status for people."""
    parts = [*_stores(status), _clients(status), *_rejections(status), *_conditions(status), *_problems(status)]
    return "\n".join(parts)


def is_healthy(status: Any) -> bool:
    """Whether clients are served, none rejected anything, and nobody has to mend anything."""
    rejected = any(kind["state"] == "NACK" for client in status["clients"] for kind in client["types"])
    return bool(status["ready"]) and not rejected and not status["problems"]


def _stores(status: Any) -> Iterator[str]:
    yield f"isthmus-controlplane {status['version']}, {'ready' if status['ready'] else 'NOT READY'}\n"
    rows = [
        (store["source"], "synced" if store["synced"] else "WAITING", str(store["objects"]), str(store["problems"]))
        for store in status["stores"]
    ]
    yield table(("STORE", "STATE", "OBJECTS", "PROBLEMS"), rows)


def _clients(status: Any) -> str:
    if not status["clients"]:
        return "No client is connected.\n"
    rows = [
        (client["node_id"] or client["peer"], kind["type"], kind["version_sent"] or "-", kind["version_acked"] or "-",
         kind["state"], str(kind["resources"]))
        for client in status["clients"]
        for kind in client["types"] or [_NOTHING_YET]
    ]  # fmt: skip
    return table(("CLIENT", "TYPE", "SENT", "ACKNOWLEDGED", "STATE", "RESOURCES"), rows)


_NOTHING_YET = {"type": "-", "version_sent": "", "version_acked": "", "state": "CONNECTED", "resources": 0}


def _rejections(status: Any) -> Iterator[str]:
    lines = [
        f"  {client['node_id'] or client['peer']} {kind['type']} {kind['nack']['version']}: {_indented(kind['nack']['message'])}"
        + (f"\n    made from {', '.join(map(cause_text, kind['nack']['causes']))}" if kind["nack"]["causes"] else "")
        for client in status["clients"]
        for kind in client["types"]
        if kind["nack"] is not None
    ]
    if lines:
        yield "Rejected by clients:\n" + "\n".join(lines) + "\n"


def cause_text(cause: Any) -> str:
    """Render an object and the field of it that a client means."""
    return f"{cause['object']} {cause['path']}".rstrip()


def _conditions(status: Any) -> Iterator[str]:
    rows = [
        (each["object"], f"{each['type']}={each['status']}", each["reason"], ", ".join(each["paths"]) or "-")
        for each in status["conditions"]
    ]
    if rows:
        yield table(("OBJECT", "CONDITION", "REASON", "FIELD"), rows)


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def _problems(status: Any) -> Iterator[str]:
    if status["problems"]:
        yield "Problems:\n" + "".join(f"  {problem_text(problem)}\n" for problem in status["problems"])


def problem_text(problem: Any) -> str:
    """Render one problem."""
    return ": ".join(part for part in (problem["origin"], problem["path"], problem["message"]) if part)
