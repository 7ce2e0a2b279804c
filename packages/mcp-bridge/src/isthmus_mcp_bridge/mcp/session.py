"""What SotW and delta sessions share: requests as values, what became of them, and the status that others may look at.

A session is a sans-IO state machine for one stream: ``handle_request`` and ``publish`` put in, ``next_response`` takes
out. Of each type at most one response is unanswered; what changes meanwhile is sent, newest state only, after the answer.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping

from isthmus_mcp_bridge.errors import BridgeError

MAX_TYPES = 64
"""istiod asks for 16; a stream that asks for more than this is not a sink."""
MAX_TYPE_URL = 256
MAX_MESSAGE = 1000

NewNonce = Callable[[], str]
"""Gives a nonce that was not given before in this process."""


class TooManyTypes(BridgeError):  # noqa: N818 - ends the stream with RESOURCE_EXHAUSTED
    """A stream asked for more types, or longer type URLs, than a sink ever does."""


class Outcome(enum.StrEnum):
    """What a request meant."""

    SUBSCRIBE = "subscribe"
    """The first of its type on the stream, or a new set of names."""
    ACK = "ack"
    NACK = "nack"
    STALE = "stale"
    """It answers a response that is not the latest of its type; nothing changes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """Why a sink refused a response: the code of google.rpc and the message."""

    code: int
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class SotwRequest:
    """A DiscoveryRequest. No names mean everything."""

    type_url: str
    nonce: str = ""
    names: tuple[str, ...] = ()
    error: Rejection | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DeltaRequest:
    """A DeltaDiscoveryRequest."""

    type_url: str
    nonce: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    held: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """``initial_resource_versions``: what the sink has from an earlier stream."""
    error: Rejection | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """A response to send: the small fields, and resources (and removals) serialised as they stand in the message."""

    type_url: str
    version: str
    nonce: str
    body: bytes
    count: int


@dataclasses.dataclass(slots=True)
class TypeStatus:
    """How one type stands on one stream, for people to see."""

    sent_version: str = ""
    acked_version: str = ""
    rejected_version: str = ""
    rejection: Rejection | None = None


def check_bounds(type_url: str, known: int) -> None:
    """Refuse a new type past the bounds. Raises TooManyTypes."""
    if known >= MAX_TYPES or len(type_url) > MAX_TYPE_URL:
        raise TooManyTypes(f"a stream may ask for {MAX_TYPES} types with URLs of up to {MAX_TYPE_URL} characters")
