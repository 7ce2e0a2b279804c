"""What ends an xDS stream."""

from __future__ import annotations

from typing import Literal

from isthmus_controlplane.errors import ControlPlaneError

StatusName = Literal["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"]


class StreamError(ControlPlaneError):
    """The stream cannot go on; the message is the status message that the client gets.

    Attributes:
        code: name of the gRPC status code that the client gets.
    """

    def __init__(self, code: StatusName, message: str) -> None:
        super().__init__(message)
        self.code = code
