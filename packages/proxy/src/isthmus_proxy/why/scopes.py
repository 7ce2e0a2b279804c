"""Which scope a request falls into, by which key, and why not into another."""

from __future__ import annotations

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.model import RouteConfiguration
from isthmus_proxy.route.scopes import FragmentBuilder, Key, Scope, ScopedRoutes

_Row = dict[str, object]
_MOST_SCOPES = 100


def explain_scope(scopes: ScopedRoutes, head: RequestHead) -> _Row:
    """The parts of the key, the scope that has it, and the others."""
    fragments = [builder.fragment(head) for builder in scopes.builders]
    parts = [_part(builder, found) for builder, found in zip(scopes.builders, fragments, strict=True)]
    complete = [fragment for fragment in fragments if fragment is not None]
    found = scopes.scopes.find(tuple(complete)) if len(complete) == len(fragments) else None
    chosen = found[0] if found is not None else None
    row: _Row = {"key": parts, "name": chosen.name if chosen is not None else None}
    if chosen is not None:
        row["route_configuration"] = _routes(chosen)
        if found is not None and found[1].table is None:
            row["why_not"] = "its route configuration has not come yet"
    elif len(complete) < len(fragments):
        row["why_not"] = "the request gives no whole key"
    else:
        row["why_not"] = "no scope has this key"
    others = [scope for scope in scopes.scopes.scopes() if scope is not chosen]
    row["others"] = [
        {"name": scope.name, "why_not": f"its key is {_shown(scope.key)}"} for scope in others[:_MOST_SCOPES]
    ]
    return row


def _part(builder: FragmentBuilder, found: bytes | None) -> _Row:
    name = builder.name.decode("latin-1")
    return {"header": name, "value": found.decode("latin-1") if found is not None else None}


def _shown(key: Key) -> str:
    return ", ".join(repr(fragment.decode("utf-8", "replace")) for fragment in key)


def _routes(scope: Scope) -> str:
    return scope.route.name if isinstance(scope.route, RouteConfiguration) else scope.route
