"""The pure parts of the conformance suites: reading cases, reading messages strictly, judging, and the truth of known gaps."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from conformance import h2spec
from conformance.http1.case import CLOSED, FOLDER, OPTIONAL, CaseError, load, raw_bytes, read
from conformance.http1.client import Heard
from conformance.http1.judge import problems
from conformance.http1.strict_reader import AmbiguousError, Message, read_request, read_response
from conformance.http1.upstream import Seen
from conformance.known_gaps import GapFileError, judge
from conformance.known_gaps import load as load_gaps
from conformance.report import print_report
from conformance.result import Outcome, Status, as_json, counts, failed, not_applicable, passed, verdict
from conformance.websocket.cases import cases as websocket_cases
from conformance.websocket.frames import TEXT, close, fragments, frame

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OUTCOMES = [passed("s", "good"), failed("s", "bad", "broken [x]"), not_applicable("t", "other", "not ours")]


def test_numbers_and_json() -> None:
    assert counts(OUTCOMES)["s"] == {Status.PASSED: 1, Status.FAILED: 1}
    document = json.loads(as_json(OUTCOMES, "isthmus", {"s/bad": "not built"}))
    assert document["suites"]["t"] == {"passed": 0, "failed": 0, "not applicable": 1}
    assert document["cases"][1] == {
        "suite": "s", "case": "bad", "status": "failed", "reason": "broken [x]", "known_gap": "not built",
    }  # fmt: skip
    assert verdict("s", "c", ["a", "b"]).reason == "a; b"
    assert verdict("s", "c", []).status is Status.PASSED


@pytest.mark.parametrize(
    ("entries", "true"),
    [
        ({"s/bad": "why"}, True),
        ({"s/b*": "why"}, True),
        ({"s/bad": "why", "u/anything": "of a suite that did not run"}, True),
        ({}, False),  # a failure that is not listed
        ({"s/*": "why"}, False),  # names a case that passes
        ({"s/bad": "why", "s/gone": "why"}, False),  # names nothing
        ({"s/bad": "why", "t/other": "why"}, False),  # names a case that does not apply
    ],
)
def test_the_list_of_known_gaps_has_to_be_true(entries: dict[str, str], true: bool) -> None:
    judgement = judge(OUTCOMES, entries)
    assert judgement.true is true
    assert judgement.known == ({"s/bad": "why"} if entries else {})


def test_gap_files(tmp_path: Path) -> None:
    path = tmp_path / "gaps.yaml"
    path.write_text("why:\n- s/a\n- s/b\n")
    assert load_gaps(path) == {"s/a": "why", "s/b": "why"}
    for wrong in ("- a\n", "why: s/a\n", "why: []\n", "one: [s/a]\ntwo: [s/a]\n"):
        path.write_text(wrong)
        with pytest.raises(GapFileError):
            load_gaps(path)


def test_the_committed_gaps_can_be_read_and_have_reasons() -> None:
    assert all(reason.strip() and "/" in entry for entry, reason in load_gaps().items())


def test_the_report_hides_no_failure() -> None:
    written = io.StringIO()
    print_report(Console(width=120, file=written), OUTCOMES, judge(OUTCOMES, {}))
    text = written.getvalue()
    assert "broken [x]" in text
    assert "not ours" in text
    assert "good" not in text
    assert "NOT LISTED: s/bad" in text


def test_requests_are_read_whole_or_not_at_all() -> None:
    chunked = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n"
    for raw, body in ((GET, b""), (chunked, b"hello")):
        for end in range(len(raw)):
            assert read_request(raw[:end]) is None
        found = read_request(raw + GET)
        assert found is not None
        assert (found[0].body, found[1]) == (body, len(raw))
    read_back = read_request(chunked)
    assert read_back is not None
    assert read_back[0].trailers == ((b"x", b"1"),)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 02\r\n\r\nok",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay0\r\n\r\n",
    ],
)
def test_what_has_two_meanings_is_refused(head: bytes) -> None:
    with pytest.raises(AmbiguousError):
        read_request(head)


def test_responses_end_where_method_and_status_say() -> None:
    ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    assert read_response(ok) is None
    for raw, method, eof, body in (
        (ok + b"ok", b"GET", False, b"ok"),
        (ok, b"HEAD", False, b""),
        (b"HTTP/1.1 304 X\r\ncontent-length: 2\r\n\r\n", b"GET", False, b""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"GET", True, b"until the end"),
    ):
        found = read_response(raw, method=method, eof=eof)
        assert found is not None
        assert (found[0].body, found[1]) == (body, len(raw))
    with pytest.raises(AmbiguousError):
        read_response(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")


def test_cases_are_read_with_their_parts() -> None:
    assert raw_bytes("a\xff") == b"a\xff"
    assert raw_bytes(["a", {"repeat": "{n},", "times": 3}, {"fill": "x", "total": 10}, "z"]) == b"a0,1,2,xxz"
    text = '{defaults: {status: 400}, cases: [{name: x, send: a}, {name: y, send: b, status: ["100?", "200|closed"]}]}'
    refused, taken = read("group", text)
    assert (refused.name, refused.upstream, refused.statuses) == ("group/x", (), (frozenset({400}),))
    assert taken.upstream is None
    assert taken.statuses == (frozenset({100, OPTIONAL}), frozenset({200, CLOSED}))
    with pytest.raises(CaseError, match="staus"):
        read("group", "{cases: [{name: x, send: a, staus: 400}]}")


def test_the_corpus_can_be_read() -> None:
    found = load()
    assert len(found) > 300
    assert {case.name.partition("/")[0] for case in found} == {path.stem for path in FOLDER.glob("*.yaml")}


def _answer(status: int) -> Message:
    return Message((b"HTTP/1.1", str(status).encode(), b""), (), b"")


def _request() -> Message:
    found = read_request(GET)
    assert found is not None
    return found[0]


def test_judging_answers_and_what_came_through() -> None:
    (refusal,) = read("g", "{cases: [{name: x, send: a, status: 400, closes: true}]}")
    nothing, something = Seen((), (), (), b""), Seen((_request(),), (), (), b"")
    assert not list(problems(refusal, Heard([_answer(400)], closed=True), nothing))
    assert list(problems(refusal, Heard([_answer(200)], closed=True), nothing))
    assert list(problems(refusal, Heard([_answer(400)]), nothing))
    assert list(problems(refusal, Heard([_answer(400)], closed=True), something))
    assert list(problems(refusal, Heard([_answer(400)], closed=True), Seen((), ("two hosts",), (), b"")))
    assert list(problems(refusal, Heard([_answer(400)], closed=True), Seen((), (), (b"GET",), b"")))


def test_interim_answers_may_be_left_out_where_the_case_says_so() -> None:
    (case,) = read("g", '{cases: [{name: x, send: a, status: ["100?", 200]}]}')
    seen = Seen((), (), (), b"")
    assert not list(problems(case, Heard([_answer(100), _answer(200)]), seen))
    assert not list(problems(case, Heard([_answer(200)]), seen))
    assert list(problems(case, Heard([_answer(100)]), seen))
    assert list(problems(case, Heard([_answer(200), _answer(200)]), seen))


def test_h2spec_reports_are_read_with_bytes_that_are_no_xml() -> None:
    report = (
        '<testsuites><testsuite><testcase package="http2/3.5" classname="Sends it"></testcase>'
        '<testcase package="http2/3.5" classname="Sends more"><failure>closed\x01</failure></testcase>'
        '<testcase package="http2/3.5" classname="Third"><skipped/></testcase></testsuite></testsuites>'
    )
    found = list(h2spec.read(report))
    assert [(each.case, each.status) for each in found] == [
        ("http2/3.5/1", Status.PASSED),
        ("http2/3.5/2", Status.FAILED),
        ("http2/3.5/3", Status.NOT_APPLICABLE),
    ]
    assert found[1].reason == "Sends more: closed?"


def test_frames() -> None:
    assert frame(TEXT, b"Hello") == bytes.fromhex("818537fa213d7f9f4d5158")  # RFC 6455, 5.7
    assert frame(TEXT, b"Hello", mask=b"") == bytes.fromhex("810548656c6c6f")
    assert fragments(TEXT, b"Hel", b"lo")[:2] == bytes.fromhex("0183")
    assert frame(2, bytes(256), mask=b"")[:4] == bytes.fromhex("827e0100")
    assert frame(2, bytes(65536), mask=b"")[:10] == bytes.fromhex("827f0000000000010000")
    assert close(None)[:2] == bytes.fromhex("8880")


def test_names_are_there_once() -> None:
    names = [case.name for case in websocket_cases()]
    assert len(names) == len(set(names))
    assert Outcome("s", "c", Status.PASSED).name == "s/c"
