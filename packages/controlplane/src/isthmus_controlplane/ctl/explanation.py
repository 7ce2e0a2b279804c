"""What ``isthmusctl explain`` prints. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def explanation_text(answer: Any) -> str:
    """Render an explanation for people."""
    if not answer["ways"]:
        return f"{answer['client']} has no route configuration for this host.\n"
    return "\n".join("".join(f"{line}\n" for line in _way(way)) for way in answer["ways"])


def is_acknowledged(answer: Any) -> bool:
    """Whether the client has acknowledged everything that the request meets, in its newest form."""
    states = [state for way in answer["ways"] for state in _states(way)]
    return bool(states) and set(states) == {"acknowledged"}


def _states(way: Any) -> Iterator[str]:
    for each in (*way["listeners"], way["route_configuration"], way["virtual_host"]):
        if "state" in each:
            yield each["state"]
    for route in way["routes"]:
        for cluster in route.get("clusters", ()):
            yield cluster["state"]
            if "endpoints_state" in cluster:
                yield cluster["endpoints_state"]


def _way(way: Any) -> Iterator[str]:
    for listener in way["listeners"]:
        yield f"listener             {_resource(listener)}"
    yield f"route configuration  {_resource(way['route_configuration'])}"
    host = way["virtual_host"]
    yield f"virtual host         {host['name']} ({', '.join(host['domains'])})" + _state(host)
    if not way["routes"]:
        yield "route                none takes this request: 404"
    for route in way["routes"]:
        yield from _route(route)


def _route(route: Any) -> Iterator[str]:
    name = f"{route['position']} {route['name']}".rstrip()
    conditions = f" if {' and '.join(route['conditions'])}" if route["conditions"] else ""
    source = f"  <- {route['object']} {route['path']}" if route["object"] else ""
    yield f"route                {name}{conditions}{source}"
    if "redirect" in route:
        yield f"  redirects          {route['redirect']}"
    if "direct_response" in route:
        yield f"  answers            {route['direct_response']}"
    for cluster in route.get("clusters", ()):
        weight = f" weight {cluster['weight']}" if len(route["clusters"]) > 1 else ""
        yield f"  cluster            {_resource(cluster)}{weight}"
        if "endpoints" in cluster:
            addresses = ", ".join(cluster["endpoints"]) or "none"
            yield f"    endpoints        {addresses}" + _state({"state": cluster.get("endpoints_state", "")})


def _resource(resource: Any) -> str:
    made = f"  <- {', '.join(resource['objects'])}" if resource["objects"] else ""
    return f"{resource['name']}{_state(resource)}{made}"


def _state(described: Any) -> str:
    return f" [{described['state']}]" if described.get("state") else ""
