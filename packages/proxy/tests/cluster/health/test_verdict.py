"""What answers to health checks say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cluster.health.model import HttpCheck
from isthmus_proxy.cluster.health.verdict import Verdict, found_in_order, grpc_request, judge_grpc, judge_http

GRPC = [(b"content-type", b"application/grpc")]
OK = [(b"grpc-status", b"0")]


def answer(status: int) -> bytes:
    message = bytes([0x08, status]) if status else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(199, "FAILED"), (200, "PASSED"), (299, "PASSED"), (300, "FAILED"), (499, "FAILED"), (500, "RETRIABLE"),
     (503, "RETRIABLE"), (504, "FAILED")],
)  # fmt: skip
def test_statuses_are_within_ranges_whose_end_is_excluded(status: int, verdict: str) -> None:
    check = HttpCheck(expected=((200, 300),), retriable=((500, 504),))
    assert judge_http(check, status, [], b"") is Verdict[verdict]


def test_only_200_is_expected_by_itself() -> None:
    assert judge_http(HttpCheck(), 200, [], b"") is Verdict.PASSED
    assert judge_http(HttpCheck(), 204, [], b"") is Verdict.FAILED


def test_the_body_has_to_hold_what_is_expected_and_a_header_tells_of_degradation() -> None:
    check = HttpCheck(receive=(b"ok", b"fine"))
    assert judge_http(check, 200, [], b"all ok and fine") is Verdict.PASSED
    assert judge_http(check, 200, [], b"fine and ok") is Verdict.FAILED
    assert judge_http(check, 200, [(b"x-envoy-degraded", b"")], b"ok fine") is Verdict.DEGRADED


@given(st.lists(st.binary(max_size=5), max_size=5), st.binary(max_size=5))
def test_pieces_are_found_whatever_is_between_them(pieces: list[bytes], between: bytes) -> None:
    assert found_in_order(pieces, between.join([b"", *pieces, b""]))


def test_a_piece_is_not_found_within_the_one_before_it() -> None:
    assert not found_in_order([b"abc", b"bc"], b"abcd")


@pytest.mark.parametrize(
    ("status", "headers", "body", "trailers", "verdict"),
    [
        (200, GRPC, answer(1), OK, "PASSED"),
        (200, GRPC, answer(2), OK, "FAILED"),
        (200, GRPC, answer(0), OK, "FAILED"),
        (200, GRPC, answer(1), [(b"grpc-status", b"5")], "FAILED"),
        (200, GRPC, answer(1), [], "FAILED"),
        (200, [*GRPC, (b"grpc-status", b"12")], b"", [], "FAILED"),
        (200, [(b"content-type", b"text/plain")], answer(1), OK, "FAILED"),
        (503, GRPC, answer(1), OK, "FAILED"),
        (200, GRPC, answer(1)[:-1], OK, "FAILED"),
        (200, GRPC, answer(1) + b"\0", OK, "FAILED"),
        (200, GRPC, b"\1" + answer(1)[1:], OK, "FAILED"),
    ],
)
def test_only_serving_passes_over_grpc(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, trailers: list[tuple[bytes, bytes]], verdict: str
) -> None:
    assert judge_grpc(status, headers, body, trailers) is Verdict[verdict]


def test_a_request_names_its_service() -> None:
    assert grpc_request("") == b"\0\0\0\0\0"
    assert grpc_request("a.B") == b"\0\0\0\0\x05\x0a\x03a.B"
    assert grpc_request("x" * 200)[5:9] == b"\x0a\xc8\x01x"
