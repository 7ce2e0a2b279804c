"""What the peer's SETTINGS say (RFC 9113, 6.5.2)."""

from __future__ import annotations

from isthmus_proxy.codec.http2 import frames
from isthmus_proxy.codec.http2.errors import FLOW_CONTROL_ERROR, PROTOCOL_ERROR, Http2ConnectionError


class PeerSettings:
    """The values in force; ``received`` once the first SETTINGS frame is here. Unknown settings are ignored."""

    __slots__ = (
        "enable_connect_protocol",
        "initial_window_size",
        "max_concurrent_streams",
        "max_frame_size",
        "received",
    )

    def __init__(self) -> None:
        self.received = False
        self.max_concurrent_streams = frames.MAX_WINDOW
        self.initial_window_size = frames.DEFAULT_WINDOW
        self.max_frame_size = frames.MIN_FRAME_SIZE
        self.enable_connect_protocol = False

    def apply(self, values: list[tuple[int, int]], *, from_server: bool) -> None:
        """Take over one SETTINGS frame. Raises Http2ConnectionError for a value out of range."""
        self.received = True
        for identifier, value in values:
            if identifier == frames.SETTINGS_INITIAL_WINDOW_SIZE:
                if value > frames.MAX_WINDOW:
                    raise Http2ConnectionError(FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE {value}")
                self.initial_window_size = value
            elif identifier == frames.SETTINGS_MAX_FRAME_SIZE:
                if not frames.MIN_FRAME_SIZE <= value <= frames.MAX_FRAME_SIZE:
                    raise Http2ConnectionError(PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE {value}")
                self.max_frame_size = value
            elif identifier == frames.SETTINGS_ENABLE_PUSH:
                if value > 1 or (value and from_server):
                    raise Http2ConnectionError(PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH {value}")
            elif identifier == frames.SETTINGS_MAX_CONCURRENT_STREAMS:
                self.max_concurrent_streams = value
            elif identifier == frames.SETTINGS_ENABLE_CONNECT_PROTOCOL:
                if value > 1:
                    raise Http2ConnectionError(PROTOCOL_ERROR, f"SETTINGS_ENABLE_CONNECT_PROTOCOL {value}")
                self.enable_connect_protocol = bool(value)
