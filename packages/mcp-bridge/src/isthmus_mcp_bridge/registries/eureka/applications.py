"""Eureka's applications as a client keeps them: full fetches, deltas, and the hash that says whether both agree; pure.

The hash is every status with its count, sorted by status: ``DOWN_1_UP_14_``. JSON of Eureka writes a list of one element as
that element, and a number as ``{"$": 8080, "@enabled": "true"}``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from isthmus_mcp_bridge.events import Problem
from isthmus_mcp_bridge.model import Presence
from isthmus_mcp_bridge.registries.book import Entry
from isthmus_mcp_bridge.registries.faults import RegistryFault
from isthmus_mcp_bridge.registries.instances import Instance, Plain, read_instances, values

_PRESENCE = {"UP": Presence.UP, "OUT_OF_SERVICE": Presence.OFFLINE, "DOWN": Presence.OFFLINE}
Raw = dict[str, Any]


class Applications:
    """What the server holds, as far as it was told."""

    def __init__(self) -> None:
        self._instances: dict[tuple[str, str], Raw] = {}
        self.hash = ""
        """What the server said that the hash is."""

    def replace(self, answer: Any) -> None:
        """Take a full fetch. Raises RegistryFault."""
        applications = _applications(answer)
        self._instances = {_identity(name, one): one for name, one in _listed(applications)}
        self.hash = str(applications.get("apps__hashcode", ""))

    def apply(self, answer: Any) -> bool:
        """Take a delta, which may repeat what is known. Returns whether the result is what the server has."""
        applications = _applications(answer)
        for name, one in _listed(applications):
            if one.get("actionType") == "DELETED":
                self._instances.pop(_identity(name, one), None)
            else:
                self._instances[_identity(name, one)] = one
        self.hash = str(applications.get("apps__hashcode", ""))
        return self.hash == self.own_hash()

    def own_hash(self) -> str:
        """The hash of what is known."""
        counts = Counter(str(one.get("status", "UNKNOWN")) for one in self._instances.values())
        return "".join(f"{status}_{counts[status]}_" for status in sorted(counts))

    def entries(self, how: Plain) -> dict[str, Entry]:
        """The applications as entries of the book, by name."""
        by_name: dict[str, list[Raw]] = {}
        for (name, _), one in self._instances.items():
            by_name.setdefault(name, []).append(one)
        return {name: _entry(how, name, found, self.hash) for name, found in by_name.items()}


def _entry(how: Plain, name: str, found: list[Raw], revision: str) -> Entry:
    instances, problems = [], []
    registered: list[int] = []
    for one in found:
        try:
            instances.append(_instance(one))
            registered.append(int((one.get("leaseInfo") or {}).get("registrationTimestamp") or 0))
        except (KeyError, TypeError, ValueError) as error:
            message = f"is not an instance ({type(error).__name__} {error}); it is left out"
            problems.append(Problem(how.registry, name, str(one)[:300], message))
    providers, more = read_instances(how, name, name.lower(), "", "", instances)
    first = min((at for at in registered if at), default=0)
    return Entry(tuple(providers), (*problems, *more), first, first or None, revision)


def _instance(one: Raw) -> Instance:
    secure = _enabled(one.get("securePort")) and not _enabled(one.get("port"))
    metadata = values(one.get("metadata"))
    if secure:
        metadata.setdefault("protocol", "https")
    status = str(one.get("overriddenStatus") or one.get("overriddenstatus") or "UNKNOWN")
    status = str(one["status"]) if status == "UNKNOWN" else status
    return Instance(
        address=str(one["ipAddr"]),
        port=_number(one["securePort" if secure else "port"]),
        raw_id=str(one.get("instanceId") or one.get("hostName")),
        presence=_PRESENCE.get(status, Presence.UNHEALTHY),
        metadata={key: value for key, value in metadata.items() if not key.startswith("@")},
    )


def _applications(answer: Any) -> Raw:
    found = answer.get("applications") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise RegistryFault("Eureka answers without applications")
    return found


def _listed(applications: Raw) -> list[tuple[str, Raw]]:
    return [
        (str(application.get("name") or one.get("app")), one)
        for application in _many(applications.get("application"))
        for one in _many(application.get("instance"))
    ]


def _many(value: Any) -> list[Raw]:
    """A list, or the one element that Eureka writes in its place."""
    many = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(one, dict) for one in many):
        raise RegistryFault("Eureka answers with something that is no application")
    return many


def _identity(name: str, one: Raw) -> tuple[str, str]:
    return name, str(one.get("instanceId") or one.get("hostName"))


def _number(value: Any) -> int:
    return int(value["$"] if isinstance(value, Mapping) else value)


def _enabled(value: Any) -> bool:
    return isinstance(value, Mapping) and str(value.get("@enabled", "")).lower() == "true"
