"""The suite ``http1``: every case sent whole and in pieces, and a canary after each that must get its own answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from conformance.http1.case import Case, load
from conformance.http1.client import Conversation
from conformance.http1.judge import problems
from conformance.http1.upstream import USUAL, Upstream
from conformance.result import Outcome, verdict
from conformance.subject import PROXIES, http_proxy
from harness.http import fetch

NAME = "http1"
PEERS = PROXIES
PIECE = 7  # bytes: shorter than any line end is apart from the next
PIECES_UP_TO = 4096


def run(subject: str, folder: Path) -> Iterator[Outcome]:
    """Ask the subject."""
    with Upstream() as upstream, http_proxy(subject, upstream.port, folder, codec="HTTP1") as port:
        for case in load():
            yield verdict(NAME, case.name, _ask(case, port, upstream))


def _ask(case: Case, port: int, upstream: Upstream) -> list[str]:
    found = _once(case, port, upstream, len(case.send) + len(case.then) + 1)
    if not found and len(case.send) <= PIECES_UP_TO and not case.whole_only:
        found = [f"sent in pieces: {problem}" for problem in _once(case, port, upstream, PIECE)]
    return found


def _once(case: Case, port: int, upstream: Upstream, step: int) -> list[str]:
    upstream.begin(case.script)
    conversation = Conversation(port, case)
    try:
        heard = conversation.run(step)
        if case.unasked:
            upstream.say(case.unasked)
    finally:
        conversation.close()  # before looking: what is unfinished at the upstream must be given up now
    return [*problems(case, heard, upstream.seen()), *_canary_problems(port, upstream)]


def _canary_problems(port: int, upstream: Upstream) -> list[str]:
    """What is wrong with the answer to an innocent request on another connection."""
    upstream.begin(USUAL)
    try:
        answer = fetch(f"127.0.0.1:{port}", "/canary", timeout=5)
    except OSError as error:
        return [f"an innocent request afterwards was not answered: {error}"]
    if (answer.status, answer.body) != (200, b"GET /canary"):
        return [f"an innocent request afterwards got another's answer: {answer.status} {answer.body[:80]!r}"]
    return []
