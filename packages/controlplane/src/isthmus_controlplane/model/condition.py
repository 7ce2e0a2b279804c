"""Attributes that conditions of an AuthorizationPolicy name: ``request.headers[x-user]`` is a family and a name."""

from __future__ import annotations

import re
from typing import NamedTuple

# Which attributes of a request conditions may name (istio.io/latest/docs/reference/config/security/conditions).
OF_CONNECTION = (
    "source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount", "source.trustDomain",
    "destination.ip", "destination.port", "connection.sni",
)  # fmt: skip
OF_REQUEST = (
    "request.headers", "request.auth.principal", "request.auth.audiences", "request.auth.presenter", "request.auth.claims",
)  # fmt: skip
NAMED = ("request.headers", "request.auth.claims")
KEYS = tuple(f"{key}[NAME]" if key in NAMED else key for key in (*OF_CONNECTION, *OF_REQUEST))
_KEY = re.compile(r"([A-Za-z.]+)((?:\[[^\[\]]+\])*)")


class Attribute(NamedTuple):
    """A family of attributes, such as ``request.auth.claims``, and the names in brackets after it."""

    family: str
    names: tuple[str, ...]


def attribute(key: str) -> Attribute | None:
    """Read the key of a condition; None for one that does not exist."""
    found = _KEY.fullmatch(key)
    if found is None or found[1] not in (*OF_CONNECTION, *OF_REQUEST):
        return None
    names = tuple(re.findall(r"\[([^\[\]]+)\]", found[2]))
    fits = len(names) == 1 if found[1] == "request.headers" else bool(names) == (found[1] in NAMED)
    return Attribute(found[1], names) if fits else None
