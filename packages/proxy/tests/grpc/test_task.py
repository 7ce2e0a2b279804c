from __future__ import annotations

import pytest

from isthmus_proxy.grpc.call import CallOptions
from isthmus_proxy.grpc.status import INTERNAL, GrpcError, Outcome
from isthmus_proxy.grpc.task import TaskCall, unary


class QuickCall:
    """A call whose server is done with it while the request is still being sent."""

    started = True

    def __init__(self, listener: TaskCall, answers: list[bytes]) -> None:
        self._listener = listener
        self._answers = answers

    def send(self, _message: bytes) -> bool:
        for answer in self._answers:
            self._listener.message_received(answer)
        self._listener.closed(Outcome(0, "", ()))
        return False

    def cancel(self) -> None:
        """Over already."""


class QuickClient:
    def __init__(self, *answers: bytes) -> None:
        self._answers = [*answers]

    def call(self, _cluster: str, _path: str, listener: TaskCall, _options: CallOptions) -> QuickCall:
        return QuickCall(listener, self._answers)


@pytest.mark.trio
@pytest.mark.parametrize("answer", [b"", b"yes"])
async def test_an_answer_that_is_there_before_the_request_is_sent_off_counts(answer: bytes) -> None:
    assert (await unary(QuickClient(answer), "c", "/s/M", b"ask"))[0] == answer  # type: ignore[arg-type]


@pytest.mark.trio
async def test_an_end_without_an_answer_is_an_error() -> None:
    with pytest.raises(GrpcError) as raised:
        await unary(QuickClient(), "c", "/s/M", b"ask")  # type: ignore[arg-type]
    assert raised.value.status == INTERNAL
