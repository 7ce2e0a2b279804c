"""Status as JSON values. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from isthmus_controlplane.model.document import to_document
from isthmus_controlplane.model.gateway_api import RouteStatus
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.resource_type import resource_type
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, StoreState
from isthmus_controlplane.telemetry.load_window import WINDOW_S, host_of
from isthmus_controlplane.telemetry.services import Telemetry
from isthmus_controlplane.translate.attribution import Cause
from isthmus_controlplane.xds.fleet import ClientStatus
from isthmus_controlplane.xds.message import Nack
from isthmus_controlplane.xds.push import PushStatus
from isthmus_controlplane.xds.session import TypeStatus


class Causes(Protocol):
    """Names what users wrote that a client of a scope rejects; see `Publisher.causes`."""

    def __call__(self, scope: Scope | None, type_url: str, nack: Nack, *, acknowledged: bool) -> tuple[Cause, ...]:
        """Return them, sorted."""
        ...


def client(status: ClientStatus, causes: Causes) -> dict[str, Any]:
    """One connected client with each of its resource types."""
    return {
        "node_id": status.node_id,
        "peer": status.peer,
        "user_agent": status.user_agent,
        "method": status.method,
        "variant": status.variant,
        "connected_since": status.connected_since,
        "scope": dataclasses.asdict(status.scope) if status.scope is not None else None,
        "types": [_type(each, status.scope, causes) for each in status.types],
    }


def _type(status: TypeStatus, scope: Scope | None, causes: Causes) -> dict[str, Any]:
    return {
        "type": resource_type(status.type_url).short,
        "type_url": status.type_url,
        "state": state_of(status),
        "subscribed": status.subscribed,
        "wildcard": status.wildcard,
        "resources": status.resources,
        "version_sent": status.version_sent,
        "version_acked": status.version_acked,
        "nack": _nack(status, scope, causes),
    }


def state_of(status: TypeStatus) -> str:
    """SYNCED, NACK (rejected), STALE (not acknowledged yet) or NOT SENT."""
    if status.nack is not None:
        return "NACK"
    if status.synced:
        return "SYNCED"
    return "STALE" if status.version_sent else "NOT SENT"


def _nack(status: TypeStatus, scope: Scope | None, causes: Causes) -> dict[str, Any] | None:
    if status.nack is None:
        return None
    found = causes(scope, status.type_url, status.nack, acknowledged=bool(status.version_acked))
    return {
        "version": status.nack.version,
        "message": status.nack.message,
        "resources": list(status.nack.resources),
        "objects": sorted({str(each.key) for each in found}),
        "causes": [{"object": str(each.key), "path": each.path} for each in found],
    }


def rejections(clients: Iterable[ClientStatus], causes: Causes) -> list[dict[str, Any]]:
    """What clients reject at the moment, with the user objects that it was made from."""
    return [
        {"client": status.node_id or status.peer, "type": resource_type(each.type_url).short, **found}
        for status in clients
        for each in status.types
        if (found := _nack(each, status.scope, causes)) is not None
    ]


def rejections_by_object(found: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rejections by the user object behind them."""
    result: dict[str, list[dict[str, Any]]] = {}
    for each in found:
        for key in each["objects"]:
            result.setdefault(key, []).append(each)
    return result


MAX_NAMED = 5


def not_accepted(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects that clients reject, each with its condition and the fields that they mean."""
    return [
        {"object": key, "paths": paths_of(key, rejected), **conditions(rejected, key)[0]}
        for key, rejected in sorted(rejections_by_object(found).items())
    ]


def paths_of(key: str, rejected: Iterable[dict[str, Any]]) -> list[str]:
    """The fields of an object that clients mean."""
    return sorted({c["path"] for each in rejected for c in each["causes"] if c["object"] == key and c["path"]})


def conditions(
    rejected: list[dict[str, Any]], key: str = "", attached: RouteStatus | None = None
) -> list[dict[str, Any]]:
    """Conditions of an object, in the form of Kubernetes: ``Accepted`` is False while clients reject what it became.

    A route of the Gateway API (``attached``) is not accepted either where nothing takes it, and has ``ResolvedRefs``; a Gateway of
    it has ``Programmed``.
    """
    if attached is None:
        return _accepted(rejected, key)
    accepted = [_condition("Accepted", *attached.accepted)] if attached.accepted[0] else _accepted(rejected, key)
    if attached.resolved is not None:
        return [*accepted, _condition("ResolvedRefs", *attached.resolved)]
    failed = accepted[0]["status"] == "False"
    return [*accepted, _condition("Programmed", "Invalid" if failed else "", accepted[0]["message"] if failed else "")]


def _condition(kind: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": "False" if reason else "True", "reason": reason or kind, "message": message}


def unattached(found: Mapping[ObjectKey, RouteStatus]) -> list[dict[str, Any]]:
    """The routes of the Gateway API that are not accepted, or name what does not exist."""
    return [
        {"object": str(key), "paths": [message.partition(":")[0]], **_condition(kind, reason, message)}
        for key, status in sorted(found.items())
        for kind, (reason, message) in (("Accepted", status.accepted), ("ResolvedRefs", status.resolved or ("", "")))
        if reason
    ]


def _accepted(rejected: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    if not rejected:
        return [{"type": "Accepted", "status": "True", "reason": "NoneRejected", "message": ""}]
    clients = sorted({each["client"] for each in rejected})
    more = f" and {len(clients) - MAX_NAMED} more" if len(clients) > MAX_NAMED else ""
    first = rejected[0]
    paths = paths_of(key, rejected)
    fields = f"{', '.join(paths)}: " if paths else ""
    message = (
        f"{fields}{first['type']} {', '.join(first['resources'])} rejected by {', '.join(clients[:MAX_NAMED])}{more}: "
        f"{first['message']}; they stay with their last good configuration"
    )
    return [{"type": "Accepted", "status": "False", "reason": "RejectedByClients", "message": message}]


def telemetry(found: Telemetry) -> dict[str, Any]:
    """What clients report: loads by cluster, and numbers of access log entries."""
    logs = [
        {"name": name, "kind": kind, "entries": number} for (name, kind), number in sorted(found.log_entries.items())
    ]
    return {
        "reporters": found.loads.reporters,
        "left_out": found.loads.left_out,
        "interval_s": found.interval,
        "window_s": WINDOW_S,
        "samples": len(found.loads.window),
        "samples_dropped": found.loads.window.dropped,
        "clusters": {name: dataclasses.asdict(load) for name, load in found.loads.clusters().items()},
        "access_logs": logs,
    }


def endpoint_loads(found: Telemetry, host: str, cluster: str, seconds: float) -> list[dict[str, Any]]:
    """What clients reported of the endpoints of a service, or of one cluster, over the last ``seconds``."""

    def wanted(name: str) -> bool:
        return (not cluster or name == cluster) and (not host or host_of(name) == host)

    return [
        {**dataclasses.asdict(place), **dataclasses.asdict(load)}
        for place, load in found.loads.window.sums(wanted, seconds).items()
    ]


def store(state: StoreState) -> dict[str, Any]:
    """One store."""
    return {
        "source": state.source,
        "synced": state.synced,
        "objects": len(state.objects),
        "problems": len(state.problems),
    }


def problems(found: Iterable[Problem]) -> list[dict[str, str]]:
    """Problems, each with origin, path and message."""
    return [dataclasses.asdict(problem) for problem in found]


def pushes(found: Iterable[PushStatus]) -> list[dict[str, Any]]:
    """The latest pushes."""
    return [dataclasses.asdict(push) for push in found]


def document(obj: ConfigObject) -> dict[str, Any]:
    """An object as users write it, with the version that an apply may carry back."""
    result = to_document(obj)
    result["metadata"]["resourceVersion"] = obj.version
    return result


def summary(obj: ConfigObject, in_use: ConfigObject | None, *, held: bool) -> dict[str, Any]:
    """An object in one line: where it comes from and whether this form of it is in use."""
    state = "held back" if held else "in use"
    if in_use is None:
        state = "not in use"
    return {
        "kind": obj.key.kind,
        "namespace": obj.key.namespace,
        "name": obj.key.name,
        "version": obj.version,
        "origin": obj.origin,
        "state": state,
    }
