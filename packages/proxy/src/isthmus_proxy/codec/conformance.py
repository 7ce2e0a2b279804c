"""What every RPC codec has to do, checked against samples of its protocol: for codecs of the proxy and of plug-ins alike.

``check_codec(codec, samples)`` raises AssertionError with what does not hold. It knows nothing of any protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus_proxy.codec.rpc import (
    GOAWAY,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    ONE_WAY,
    REQUEST,
    RESPONSE,
    SEALED,
    Frame,
    RpcCodec,
    RpcProtocolError,
)

_LIMIT = 1 << 24


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A request as a client sends it, and what it says."""

    frame: bytes
    identifier: int
    service: bytes
    method: bytes
    one_way: bool = False


@dataclass(frozen=True, slots=True)
class SampleResponse:
    """A response as a server sends it."""

    frame: bytes
    identifier: int
    failed: bool = False


@dataclass(frozen=True, slots=True)
class CodecSamples:
    """At least two requests to different methods and one response. ``garbage`` begins no frame of the protocol."""

    requests: Sequence[SampleRequest]
    responses: Sequence[SampleResponse]
    garbage: Sequence[bytes]
    heartbeats: bool = True


def check_codec(codec: RpcCodec, samples: CodecSamples) -> None:
    """Check everything."""
    assert len(samples.requests) >= 2, "two requests at least"
    assert samples.responses, "one response at least"
    _check_kinds(codec, samples)
    _check_cuts_and_batches(codec, samples)
    _check_limits(codec, samples)
    _check_identifiers(codec, samples)
    _check_answers(codec, samples)
    _check_keys(codec, samples)
    _check_detection(codec, samples)


def _frames(samples: CodecSamples) -> list[bytes]:
    return [*(each.frame for each in samples.requests), *(each.frame for each in samples.responses)]


def _only(codec: RpcCodec, data: bytes) -> Frame:
    frames, end, need = codec.split(data, _LIMIT)
    assert (len(frames), end, need) == (1, len(data), 0), f"{data!r} is not one frame"
    frame = frames[0]
    assert (frame[1], frame[2]) == (0, len(data)), "a frame begins and ends where its bytes do"
    assert 0 <= frame[5] <= frame[6] <= len(data), "the routing key is inside the frame"
    return frame


def _check_kinds(codec: RpcCodec, samples: CodecSamples) -> None:
    for request in samples.requests:
        frame = _only(codec, request.frame)
        assert frame[0] & ~SEALED == (ONE_WAY if request.one_way else REQUEST), f"{request} is of another kind"
        assert frame[3] == request.identifier, f"{request} has another identifier"
        said = codec.read(request.frame, frame)
        assert (said.service, said.method) == (request.service, request.method), f"{request} says something else"
    for response in samples.responses:
        frame = _only(codec, response.frame)
        assert frame[0] & ~SEALED == RESPONSE, f"{response} is of another kind"
        assert frame[3] == response.identifier, f"{response} has another identifier"
        assert (frame[7] != codec.success) == response.failed, f"{response} has another outcome"


def _check_cuts_and_batches(codec: RpcCodec, samples: CodecSamples) -> None:
    for data in _frames(samples):
        for size in range(len(data)):
            frames, end, need = codec.split(data[:size], _LIMIT)
            assert (frames, end) == ([], 0), f"{size} bytes of {len(data)} are no frame"
            assert need in (0, len(data)), f"after {size} bytes {need} are said to be needed"
    everything = b"".join(_frames(samples))
    frames, end, _ = codec.split(everything + _frames(samples)[0][:1], _LIMIT)
    assert end == len(everything), "a batch ends with its last whole frame"
    assert [everything[frame[1] : frame[2]] for frame in frames] == _frames(samples), "a batch is its frames in order"


def _check_limits(codec: RpcCodec, samples: CodecSamples) -> None:
    for data in _frames(samples):
        assert len(codec.split(data, len(data))[0]) == 1, "a frame of just the limit passes"
        _refuses(codec, data, len(data) - 1, "a frame beyond the limit is refused")
    for garbage in samples.garbage:
        _refuses(codec, garbage, _LIMIT, f"{garbage!r} is refused")
        good = samples.requests[0].frame
        assert codec.split(good + garbage, _LIMIT)[1] == len(good), "what stands before garbage is served"


def _refuses(codec: RpcCodec, data: bytes, limit: int, text: str) -> None:
    try:
        codec.split(data, limit)
    except RpcProtocolError:
        return
    raise AssertionError(text)


def _check_identifiers(codec: RpcCodec, samples: CodecSamples) -> None:
    for data in _frames(samples):
        before = _only(codec, data)
        for identifier in (0, 1, codec.id_mask):
            changed = codec.set_id(data, identifier)
            after = _only(codec, changed)
            assert after[3] == identifier, "an identifier that was set is read"
            assert (after[0], after[7], after[8]) == (before[0], before[7], before[8]), "nothing else changes"
            assert codec.set_id(changed, before[3]) == data, "an identifier can be set back"
            if not before[0] & SEALED:
                patched = bytearray(data)
                codec.id_format.pack_into(patched, before[4], identifier)
                assert bytes(patched) == changed, "writing it in place does the same"


def _check_answers(codec: RpcCodec, samples: CodecSamples) -> None:
    for request in samples.requests:
        form = _only(codec, request.frame)[8]
        for status in (400, 403, 404, 422, 501, 502, 503, 504, 529):
            answer = _only(codec, codec.error(codec.id_mask, form, status, "reason"))
            assert answer[0] & ~SEALED == RESPONSE, "an error is a response"
            assert answer[3] == codec.id_mask, "an error has the identifier of its request"
            assert answer[7] != codec.success, "an error is none of success"
            assert 400 <= codec.http_status(answer[7]) < 600, "the status of an error stands for a failure"
        farewell = codec.goaway(form)
        assert not farewell or _only(codec, farewell)[0] & ~SEALED == GOAWAY, "what asks to go away is known as that"
        if samples.heartbeats:
            asked = codec.heartbeat(7, form)
            assert _only(codec, asked)[0] & ~SEALED == HEARTBEAT, "a heartbeat is known as one"
            answered = _only(codec, codec.heartbeat_reply(asked))
            assert answered[0] & ~SEALED == HEARTBEAT_REPLY, "so is its answer"
            assert answered[3] == 7, "which has the same identifier"
        else:
            assert codec.heartbeat(7, form) == b"", "a protocol without heartbeats sends none"
    assert codec.http_status(codec.success) == 200, "success is 200"


def _check_keys(codec: RpcCodec, samples: CodecSamples) -> None:
    plans: dict[bytes, tuple[bytes, bytes]] = {}
    for request in samples.requests:
        frame = _only(codec, request.frame)
        key = request.frame[frame[5] : frame[6]]
        said = (request.service, request.method)
        assert plans.setdefault(key, said) == said, "requests with the same routing key go to the same method"
        for name, start, end in codec.fields(key) or ():
            assert name, "a field has a name"
            assert 0 <= start <= end <= len(key), "and a place in the key"


def _check_detection(codec: RpcCodec, samples: CodecSamples) -> None:
    assert codec.detect(b"") is None, "nothing tells nothing"
    for data in _frames(samples):
        assert codec.detect(data[:32]) is True, "a frame is recognised by 32 bytes"
        assert False not in [codec.detect(data[:size]) for size in range(32)], "and never taken for another before"
    for garbage in samples.garbage:
        assert codec.detect(garbage) is False, f"{garbage!r} is not taken for a frame"
