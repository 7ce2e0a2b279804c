"""What two processes say to each other at a hot upgrade. Pure: one datagram is one message, JSON of bounded size.

The successor asks, the predecessor answers, over a Unix socket that keeps messages apart (SOCK_SEQPACKET). Sockets travel
beside the messages that name them (SCM_RIGHTS):

    successor                       predecessor
    {"ask": "sockets", "version": 1}
                                    {"sockets": [[listener, address], ...], "epoch": 0, "more": true}   as often as needed
    ... it loads its configuration, and its listeners accept beside those of the predecessor ...
    {"ask": "over"}
                                    it accepts no more, closes its admin port
                                    {"counters": {scope: {name: value}}, "more": true}      as often as needed
                                    ... its connections end ...
                                    {"counters": {...}, "more": false}                      what was counted since, and its end

Instead of an answer, ``{"refused": reason}``. A successor that goes away before ``over`` changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

VERSION = 1
"""Of this protocol: processes of different ones do not take over from each other."""

MAX_BYTES = 64 * 1024
"""The longest message. Both sides read into a buffer of this size."""

MAX_SOCKETS = 64
"""Sockets beside one message; Linux takes at most 253."""

_COUNTER_BYTES = 16 * 1024
"""Names of counters in one message; with their values and quotes they stay far below the longest."""

Counters = Mapping[str, Mapping[str, int]]
"""Values by scope (``cluster.web``) and name (``upstream_rq_total``)."""


class HandoverError(Exception):
    """The other process said something that is no message of this protocol, refused, or went away."""


@dataclass(frozen=True, slots=True)
class SocketName:
    """One listening socket: its listener, and the address as configured (``127.0.0.1:0`` for any port)."""

    listener: str
    address: str


@dataclass(frozen=True, slots=True)
class Sockets:
    """Names of the sockets that come with the message, in their order. ``more``: another such message follows.

    ``epoch`` says how many processes the predecessor came after.
    """

    names: tuple[SocketName, ...]
    epoch: int
    more: bool


@dataclass(frozen=True, slots=True)
class CounterValues:
    """What the predecessor has counted, or counted since it said so last."""

    values: Counters
    more: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """``sockets`` or ``over``."""

    what: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Refused:
    """The predecessor goes on alone, and says why."""

    reason: str


Message = Ask | Sockets | CounterValues | Refused


def encode(message: Message) -> bytes:
    """One datagram."""
    return json.dumps(_fields(message), separators=(",", ":"), ensure_ascii=False).encode()


def _fields(message: Message) -> dict[str, object]:
    if isinstance(message, Ask):
        return {"ask": message.what, "version": message.version}
    if isinstance(message, Sockets):
        names = [[name.listener, name.address] for name in message.names]
        return {"sockets": names, "epoch": message.epoch, "more": message.more}
    if isinstance(message, CounterValues):
        return {"counters": message.values, "more": message.more}
    return {"refused": message.reason}


def decode(data: bytes) -> Message:
    """The message of a datagram. Raises HandoverError; an empty datagram is the end of the connection."""
    if not data:
        raise HandoverError("the other process has gone")
    try:
        fields = json.loads(data)
        if isinstance(fields, dict):
            return _message(fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HandoverError(f"not a message of this protocol: {error}") from error
    raise HandoverError("not a message of this protocol: no object")


def _message(fields: dict[str, Any]) -> Message:
    if "ask" in fields:
        return Ask(str(fields["ask"]), int(fields.get("version", 0)))
    if "sockets" in fields:
        names = tuple(SocketName(str(listener), str(address)) for listener, address in fields["sockets"])
        return Sockets(names, int(fields["epoch"]), bool(fields["more"]))
    if "counters" in fields:
        return CounterValues(_counters(fields["counters"]), bool(fields["more"]))
    return Refused(str(fields["refused"]))


def _counters(fields: dict[str, dict[str, Any]]) -> Counters:
    return {str(scope): {str(name): int(value) for name, value in each.items()} for scope, each in fields.items()}


def in_messages(counters: Counters, *, more: bool) -> Iterator[CounterValues]:
    """``counters`` in messages that are short enough. ``more`` is what the last one says."""
    piece: dict[str, dict[str, int]] = {}
    size = 0
    for scope, values in counters.items():
        for name, value in values.items():
            size += len(scope.encode()) + len(name.encode())
            if size > _COUNTER_BYTES and piece:
                yield CounterValues(piece, more=True)
                piece, size = {}, 0
            piece.setdefault(scope, {})[name] = value
    yield CounterValues(piece, more=more)


def difference(now: Counters, before: Counters) -> Counters:
    """What was counted in between; scopes and names without a difference are left out."""
    found: dict[str, dict[str, int]] = {}
    for scope, values in now.items():
        old = before.get(scope, {})
        grown = {name: value - old.get(name, 0) for name, value in values.items() if value > old.get(name, 0)}
        if grown:
            found[scope] = grown
    return found
