"""The few protobuf messages of a session server that a subscriber needs; pure (``common/model/.../proto/*.proto``)."""

from __future__ import annotations

import dataclasses

from isthmus_mcp_bridge.registries import protobuf_wire as wire

PACKAGE = "com.alipay.sofa.registry.common.model.client.pb."
SUBSCRIBE = PACKAGE + "SubscriberRegisterPb"
RECEIVED = PACKAGE + "ReceivedDataPb"
RESULT = PACKAGE + "ResultPb"
DEFAULT_INSTANCE = "DEFAULT_INSTANCE_ID"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class DataKey:
    """What is subscribed to."""

    data_id: str
    group: str = "SOFA"
    instance_id: str = DEFAULT_INSTANCE

    @property
    def data_info_id(self) -> str:
        """SOFARegistry's own name for it."""
        return f"{self.data_id}#@#{self.instance_id}#@#{self.group}"


@dataclasses.dataclass(frozen=True, slots=True)
class ReceivedData:
    """A push: everything that is published under the key, all zones together."""

    key: DataKey
    version: int
    items: tuple[str, ...]


def subscriber(key: DataKey, regist_id: str, app: str, timestamp_ms: int, scope: str = "dataCenter") -> bytes:
    """SubscriberRegisterPb: uncompressed single pushes only, as neither encoding nor multi-push is accepted."""
    base = (
        wire.field(1, key.instance_id)
        + wire.field(3, app)
        + wire.field(4, key.data_id)
        + wire.field(5, key.group)
        + wire.field(7, regist_id)
        + wire.field(9, key.data_info_id)
        + wire.field(12, "REGISTER")
        + wire.field(13, 1)
        + wire.field(14, timestamp_ms)
    )
    return wire.field(1, scope) + wire.field(2, base)


def read_register_response(data: bytes) -> tuple[bool, str]:
    """RegisterResponsePb: whether it succeeded, and the message. Raises WireError."""
    message = wire.read(data)
    return bool(wire.integer(message, 1)) and not wire.integer(message, 4), wire.text(message, 5)


def read_received(data: bytes) -> ReceivedData:
    """ReceivedDataPb. Raises WireError."""
    message = wire.read(data)
    if wire.text(message, 10):
        raise wire.WireError(f"is compressed with {wire.text(message, 10)}, which was not asked for")
    items: list[str] = []
    for entry in message.get(7, ()):
        if isinstance(entry, int):
            raise wire.WireError("field 7 is a number")
        boxes = wire.read(wire.data_of(wire.read(entry), 2)).get(1, ())
        items += [wire.text(wire.read(box), 1) for box in boxes if isinstance(box, bytes)]
    key = DataKey(wire.text(message, 1), wire.text(message, 2), wire.text(message, 3))
    return ReceivedData(key, wire.integer(message, 8), tuple(sorted(items)))


def result(success: bool, message: str = "") -> bytes:
    """ResultPb."""
    return wire.field(1, int(success)) + wire.field(2, message)
