"""What this end of a connection asks of its peer and bears from it (core.v3.Http2ProtocolOptions), with Envoy's defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Http2Options:
    """Sizes in bytes, keep-alive times in seconds, 0 = no keep-alive pings.

    ``max_fields`` and ``max_list_size`` bound a header list (max_headers_count and max_request_headers_kb);
    ``max_continuations`` the frames of one block; floods are counted as Envoy counts them.
    """

    hpack_table_size: int = 4096
    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 16 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    allow_connect: bool = False
    max_outbound_frames: int = 10_000
    max_outbound_control_frames: int = 1_000
    max_consecutive_inbound_frames_with_empty_payload: int = 1
    max_inbound_priority_frames_per_stream: int = 100
    max_inbound_window_update_frames_per_data_frame_sent: int = 10
    max_list_size: int = 60 * 1024
    max_fields: int = 100
    max_continuations: int = 512
    keepalive_interval: float = 0.0
    keepalive_timeout: float = 0.0
