"""One resource, serialised and hashed once and then shared by every stream that sends it."""

from __future__ import annotations

import dataclasses
import hashlib
import weakref

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from isthmus_controlplane.snapshot.dependencies import references_of
from isthmus_controlplane.snapshot.names import name_of
from isthmus_controlplane.snapshot.resource_type import TYPE_PREFIX

VERSION_BYTES = 8


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Resource:
    """One resource of a snapshot.

    Attributes:
        name: resource name.
        version: hash of the content, equal on every replica and after every restart.
        body: the serialised ``google.protobuf.Any``; responses are assembled from these bytes. Empty when not known.
        references: names that this resource makes a client ask for: a cluster's EDS name, a listener's RDS names.
        ttl_ms: milliseconds after which a client drops it unless it hears of it again; 0 for ever.
        aliases: all names under which a client may ask for it, the first of which is its own; empty where that is ``name``
            alone. It stands in a collection under each of them.
    """

    name: str
    version: str
    body: bytes
    references: tuple[str, ...] = ()
    ttl_ms: int = 0
    aliases: tuple[str, ...] = ()

    def mentions(self, name: str) -> bool:
        """Whether the resource holds ``name`` as a whole text field, however deep and inside whatever extension.

        Looks for the length-prefixed text in the serialised bytes: packed extensions are nested in place, so this
        sees what a walk over the messages would see, at the speed of a byte search. A body that is not known
        mentions everything, and one that does not exist, which has aliases nevertheless, nothing.
        """
        raw = name.encode()
        return not (self.body or self.aliases) or varint(len(raw)) + raw in self.body


@dataclasses.dataclass(frozen=True, slots=True)
class Timed:
    """A message with a time to live: clients drop it when they do not hear of it for so long (``Resource.ttl``).

    Attributes:
        message: the resource.
        ttl: seconds, at least 0.001; the server sends a heartbeat at half of it.
    """

    message: Message
    ttl: float

    def __post_init__(self) -> None:
        if not self.ttl >= 0.001:
            raise ValueError(f"ttl {self.ttl}: has to be at least 0.001 s")


@dataclasses.dataclass(frozen=True, slots=True)
class Aliased:
    """A message that clients may ask for under several names (``Resource.aliases``): a virtual host by any of its domains.

    Attributes:
        message: the resource.
        aliases: names besides its own, without doubles.
    """

    message: Message
    aliases: tuple[str, ...]


Content = Message | Timed | Aliased


class ResourcePool:
    """Finds resources of equal content again, so that the snapshots of different scopes share their bytes.

    Holds them weakly: what no snapshot and no stream uses is gone. Within one publication a message that several scopes
    share is serialised once; `forget_messages` ends that.
    """

    __slots__ = ("_known", "_made", "serialisations")

    def __init__(self) -> None:
        self.serialisations = 0
        self._made: dict[tuple[str, int], tuple[Content, Resource]] = {}
        self._known: weakref.WeakValueDictionary[tuple[str, str, str], Resource] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._known)

    def shared(self, type_url: str, name: str, message: Content) -> Resource:
        """Return the resource that holds the bytes of ``message``; the same message is not serialised twice."""
        made = self._made.get((name, id(message)))
        if made is None:  # a message that is known here lives, so no other has its id
            made = self._made[name, id(message)] = (message, self.serialised(type_url, name, message))
        return made[1]

    def forget_messages(self) -> None:
        """Let go of the messages seen so far; their resources live as long as somebody uses them."""
        self._made.clear()

    def serialised(self, type_url: str, name: str, content: Content) -> Resource:
        """Serialise ``content`` and return the resource that holds these bytes, a known one where there is one."""
        self.serialisations += 1
        message = message_of(content)
        ttl_ms = round(content.ttl * 1000) if isinstance(content, Timed) else 0
        # A collection of MCP is called group/version/Kind and holds envelopes.
        packed = type_url if type_url.startswith(TYPE_PREFIX) else type_url_of(message)
        body = Any(type_url=packed, value=message.SerializeToString(deterministic=True)).SerializeToString()
        aliases = (name_of(message), *content.aliases) if isinstance(content, Aliased) else ()
        version = _version(body, ttl_ms, aliases)
        known = self._known.get((type_url, name, version))
        if known is not None and known.body == body:
            return known
        made = Resource(name, version, body, references_of(message), ttl_ms, aliases)
        self._known[type_url, name, version] = made
        return made


def message_of(content: Content) -> Message:
    """Return the bare message."""
    return content if isinstance(content, Message) else content.message


def _version(body: bytes, ttl_ms: int, aliases: tuple[str, ...]) -> str:
    parts = [body]
    if ttl_ms:
        parts.append(str(ttl_ms).encode())
    if aliases:
        parts.append("\0".join(aliases).encode())
    return content_version(*parts)


def type_url_of(message: Message) -> str:
    """Return the type URL under which a message is served."""
    return TYPE_PREFIX + message.DESCRIPTOR.full_name


def content_version(*parts: bytes) -> str:
    """Hash byte strings into a version; each part counts with its length, so parts cannot run into one another."""
    digest = hashlib.blake2b(digest_size=VERSION_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def varint(value: int) -> bytes:
    """Encode a non-negative number as a protobuf base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
