"""How far a client is with one resource. Pure."""

from __future__ import annotations

from typing import Literal

from isthmus_controlplane.xds.session import Session

ResourceState = Literal["acknowledged", "sent", "rejected", "outdated", "not sent", "not subscribed"]


def resource_state(session: Session, type_url: str, name: str) -> ResourceState:
    """Say how far a client is with the newest form of a resource.

    ``sent`` waits for the answer; ``outdated`` means that the client has another form and has not been sent this one yet.
    """
    watch = session.watches.get(type_url)
    if watch is None or not watch.subscription.covers(name):
        return "not subscribed"
    sent = watch.delivered.sent.get(name)
    if sent is None:
        return "not sent"
    nack = watch.delivered.nack
    if nack is not None and (name in nack.resources or not nack.resources):
        return "rejected"
    current = session.snapshot.collection(type_url).resources.get(name) if session.snapshot is not None else None
    if current is not None and current.version != sent.version:
        return "outdated"
    in_flight = any(name in response.names for response in watch.delivered.outstanding)
    return "sent" if in_flight else "acknowledged"
