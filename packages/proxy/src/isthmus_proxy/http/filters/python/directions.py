"""The two ways through a filter in Python: what ``body_way`` asks of the exchange in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.http.filters.stream_filter import FilterCallbacks, Trailers
from isthmus_proxy.http.message import ResponseHead

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.python.stream import PythonStream


class RequestDirection:
    """See ``body_way.Direction``."""

    __slots__ = ("_callbacks", "_filter")

    def __init__(self, own: PythonStream, callbacks: FilterCallbacks) -> None:
        self._filter = own
        self._callbacks = callbacks

    def open_head(self) -> None:
        """See Direction."""
        self._filter.open_request()

    def inject(self, data: bytes) -> None:
        """See Direction."""
        self._callbacks.inject_decoded_data(self._filter, data)

    def hold(self) -> None:
        """See Direction."""
        self._callbacks.hold_request()

    def release(self) -> None:
        """See Direction."""
        self._callbacks.release_request()

    def reserve(self, length: int) -> None:
        """See Direction."""
        self._callbacks.set_decoder_buffer_limit(max(length, self._callbacks.buffer_limit))

    def set_length(self, length: int | None) -> None:
        """See Direction."""
        if length is None:
            head = self._callbacks.head
            head.headers = [field for field in head.headers if field[0] != b"content-length"]
        else:
            self._callbacks.set_body_length(length)

    def set_trailers(self, trailers: Trailers) -> None:
        """See Direction."""
        self._callbacks.set_request_trailers(trailers)

    def go_on(self) -> None:
        """See Direction."""
        self._callbacks.continue_decoding(self._filter)

    def too_large(self) -> None:
        """See Direction."""
        self._callbacks.request_too_large()


class ResponseDirection:
    """See ``body_way.Direction``."""

    __slots__ = ("_callbacks", "_filter", "_head")

    def __init__(self, own: PythonStream, callbacks: FilterCallbacks, head: ResponseHead) -> None:
        self._filter = own
        self._callbacks = callbacks
        self._head = head

    def open_head(self) -> None:
        """See Direction."""
        self._filter.open_response(self._head)

    def inject(self, data: bytes) -> None:
        """See Direction."""
        self._callbacks.inject_encoded_data(self._filter, data)

    def hold(self) -> None:
        """See Direction."""
        self._callbacks.hold_response()

    def release(self) -> None:
        """See Direction."""
        self._callbacks.release_response()

    def reserve(self, length: int) -> None:
        """See Direction."""
        self._callbacks.set_encoder_buffer_limit(max(length, self._callbacks.buffer_limit))

    def set_length(self, length: int | None) -> None:
        """Nothing: a body whose length has changed goes out chunked."""

    def set_trailers(self, trailers: Trailers) -> None:
        """See Direction."""
        self._callbacks.set_response_trailers(trailers)

    def go_on(self) -> None:
        """See Direction."""
        self._callbacks.continue_encoding(self._filter)

    def too_large(self) -> None:
        """See Direction."""
        self._callbacks.response_too_large()
