"""Compares what came back, and what reached the upstream, with what a case allows. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.http1.case import CLOSED, OPTIONAL, Case, ExpectedRequest
from conformance.http1.client import Heard
from conformance.http1.strict_reader import Message
from conformance.http1.upstream import Seen


def problems(case: Case, heard: Heard, seen: Seen) -> Iterator[str]:
    """Everything that is wrong, in words."""
    yield from _answer_problems(case, heard)
    for problem in seen.problems:
        yield f"the upstream received something ambiguous: {problem}"
    for rest in seen.unfinished:
        yield f"the upstream still waits for the rest of {rest[:120]!r}"
    if case.upstream is not None:
        yield from _request_problems(case.upstream, seen)


def _answer_problems(case: Case, heard: Heard) -> Iterator[str]:
    if heard.problem:
        yield heard.problem
    if case.may_break_off and heard.rest and heard.closed:
        return
    statuses = [message.status for message in heard.answers]
    if not _allowed(case.statuses, statuses, closed=heard.closed):
        wanted = ", ".join(_shown(each) for each in case.statuses)
        closed = " and closed" if heard.closed else ""
        yield f"answered {statuses}{closed}, wanted [{wanted}]"
    elif heard.rest and not heard.problem:
        yield f"sent {heard.rest[:80]!r}, which is no complete answer"
    if case.closes is not None and heard.closed is not case.closes:
        yield "left the connection open" if case.closes else "closed the connection"
    if heard.answers:
        last = heard.answers[-1]
        yield from _header_problems("answer", last, case.headers)
        if case.body is not None and last.body != case.body:
            yield f"answer has the body {last.body[:80]!r}, wanted {case.body[:80]!r}"


def _shown(allowed: frozenset[int]) -> str:
    words = {CLOSED: "closed", OPTIONAL: "nothing"}
    return "|".join(words.get(status, str(status)) for status in sorted(allowed, reverse=True))


def _allowed(wanted: tuple[frozenset[int], ...], statuses: list[int], *, closed: bool) -> bool:
    if wanted and OPTIONAL in wanted[0] and (not statuses or statuses[0] not in wanted[0]):
        return _allowed(wanted[1:], statuses, closed=closed)
    padded = [*statuses, *([CLOSED] * (len(wanted) - len(statuses)))]
    if len(padded) != len(wanted) or (CLOSED in padded and not closed):
        return False
    return all(status in allowed for status, allowed in zip(padded, wanted, strict=True))


def _request_problems(expected: tuple[ExpectedRequest, ...], seen: Seen) -> Iterator[str]:
    if len(expected) != len(seen.requests):
        lines = [b" ".join(request.start[:2]).decode("latin-1") for request in seen.requests]
        yield f"{len(seen.requests)} requests reached the upstream ({', '.join(lines)}), wanted {len(expected)}"
        return
    for request, wanted in zip(seen.requests, expected, strict=True):
        yield from _one_request(request, wanted)


def _one_request(request: Message, wanted: ExpectedRequest) -> Iterator[str]:
    method, target, _ = request.start
    if wanted.method is not None and method != wanted.method:
        yield f"the upstream received the method {method!r}, wanted {wanted.method!r}"
    if wanted.target is not None and target != wanted.target:
        yield f"the upstream received the target {target[:80]!r}, wanted {wanted.target[:80]!r}"
    if wanted.body is not None and request.body != wanted.body:
        yield f"the upstream received the body {request.body[:80]!r}, wanted {wanted.body[:80]!r}"
    if wanted.trailers is not None and request.trailers != wanted.trailers:
        yield f"the upstream received the trailers {request.trailers!r}, wanted {wanted.trailers!r}"
    yield from _header_problems("request at the upstream", request, wanted.headers)


def _header_problems(where: str, message: Message, wanted: tuple[tuple[bytes, bytes | None], ...]) -> Iterator[str]:
    for name, value in wanted:
        found = message.values(name)
        if found != ([] if value is None else [value]):
            yield f"{where} has {name.decode()}: {found!r}, wanted {value!r}"
