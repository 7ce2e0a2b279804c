"""What was observed of one case on one side, and in what two observations differ. Pure."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff

import brotli

from differential.case import Case
from differential.client import Heard
from differential.upstream import Forwarded

_UUID = re.compile(rb"^(x-request-id: )[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", re.IGNORECASE)
_VARYING = re.compile(rb"^(date|x-envoy-upstream-service-time): .*$", re.IGNORECASE | re.MULTILINE)
_DELAY = re.compile(r"^(\S+-delay-ms: )\d+$", re.MULTILINE)
_EXPECTED_TIMEOUT = re.compile(rb"^(x-envoy-expected-rq-timeout-ms): .*$")
_CODING = re.compile(rb"\r\ncontent-encoding: (gzip|br)(?:\r|$)")
_UPSTREAM_NAME = re.compile(rb"^(x-upstream: )(.*)$")


@dataclass(frozen=True, slots=True)
class Observation:
    """One case on one side. ``log`` has a mapping for each line of the access log."""

    heard: tuple[Heard, ...]
    forwarded: tuple[Forwarded, ...]
    log: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """``field`` says where; ours and Envoy's value follow."""

    field: str
    ours: str
    envoys: str

    def __str__(self) -> str:
        if "\n" not in self.ours + self.envoys:
            return f"{self.field}: ours {self.ours!r}, Envoy's {self.envoys!r}"
        lines = unified_diff(self.envoys.splitlines(), self.ours.splitlines(), "Envoy's", "ours", n=99, lineterm="")
        return "\n    ".join([f"{self.field}:", *lines])


def compare(case: Case, ours: Observation, envoys: Observation, ports: Mapping[str, int]) -> list[Difference]:
    """All differences. ``ports`` gives the port of each upstream."""
    if case.spread is not None:
        return list(_compare_spread(case.spread, ours, envoys))
    return [
        *_compare_heard(_heard(case, ours), _heard(case, envoys)),
        *_compare_forwarded(_forwarded(case, ours), _forwarded(case, envoys)),
        *_compare_log(_log(case, ours, ports), _log(case, envoys, ports)),
    ]


def _compare_spread(tolerance: float, ours: Observation, envoys: Observation) -> Iterator[Difference]:
    counts = [Counter(each.to for each in side.forwarded) for side in (ours, envoys)]
    totals = [max(count.total(), 1) for count in counts]
    for name in sorted(counts[0].keys() | counts[1].keys()):
        shares = [count[name] / total for count, total in zip(counts, totals, strict=True)]
        if abs(shares[0] - shares[1]) > tolerance:
            yield Difference(f"share.{name}", f"{shares[0]:.2f}", f"{shares[1]:.2f}")
    statuses = [Counter(each.head.split(b"\r\n")[0].decode() for each in side.heard) for side in (ours, envoys)]
    if statuses[0].keys() != statuses[1].keys():
        yield Difference("statuses", str(dict(statuses[0])), str(dict(statuses[1])))


# ---- normal forms ----


def _names(case: Case, side: Observation) -> dict[str, str]:
    """What each upstream is called: by order of appearance where the case wants that."""
    names: dict[str, str] = {}
    for each in side.forwarded:
        names.setdefault(each.to, f"#{len(names) + 1}" if case.rename else each.to)
    return names


def _heard(case: Case, side: Observation) -> list[tuple[str, list[str], str]]:
    names = _names(case, side)
    normal = []
    for each in side.heard:
        first, lines = _head(each.head, names)
        trailers = "".join(f"\n{name.decode()}: {value.decode('latin-1')}" for name, value in each.trailers)
        # What is no complete answer may still begin with a head.
        body = _plain(each.head, each.body) if each.head else _VARYING.sub(rb"\1: ~", each.body.replace(b"\r\n", b"\n"))
        normal.append((first, lines, _shown(body) + _DELAY.sub(r"\1~", trailers)))
    return normal


def _forwarded(case: Case, side: Observation) -> list[tuple[str, list[str], str]]:
    names = _names(case, side)
    normal = []
    for index, each in enumerate(side.forwarded):
        first, lines = _head(each.head, names, again=index > 0 or case.unordered)
        normal.append(
            (
                f"{names[each.to]}: {first}",
                lines,
                _shown(_plain(each.head, each.body)) if each.complete else "<unfinished>",
            )
        )
    return sorted(normal) if case.unordered else normal


def _head(head: bytes, names: Mapping[str, str], *, again: bool = False) -> tuple[str, list[str]]:
    first, *lines = head.split(b"\r\n")
    return first.decode("latin-1"), [_masked(line, names, again=again).decode("latin-1") for line in lines]


def _masked(line: bytes, names: Mapping[str, str], *, again: bool) -> bytes:
    """A header line without what differs from one run to the next, whoever writes it."""
    line = _VARYING.sub(rb"\1: ~", _UUID.sub(rb"\1~uuid~", line))
    if again:  # a retry says how much time is left
        line = _EXPECTED_TIMEOUT.sub(rb"\1: ~", line)
    found = _UPSTREAM_NAME.match(line)
    return found[1] + names.get(found[2].decode(), "?").encode() if found else line


def _shown(body: bytes) -> str:
    text = body.decode("latin-1")
    return text if len(text) <= 2000 else f"{text[:200]}... ({len(text)} bytes, crc {hash(text)})"


def _plain(head: bytes, body: bytes) -> bytes:
    """A body as its sender meant it: two compressors need not write the same bytes."""
    found = _CODING.search(head.lower())
    if found is None or not body:
        return body
    try:
        plain: bytes = (gzip if found[1] == b"gzip" else brotli).decompress(body)
        return b"<%b>" % found[1] + plain
    except (OSError, EOFError, brotli.error):
        return body


def _log(case: Case, side: Observation, ports: Mapping[str, int]) -> list[dict[str, str]]:
    names = {f"127.0.0.1:{ports[name]}": known for name, known in _names(case, side).items()}
    names |= {f"127.0.0.1:{port}": name for name, port in ports.items() if not case.rename}
    lines = [{key: names.get(value, value) for key, value in line.items()} for line in side.log]
    return sorted(lines, key=lambda line: sorted(line.items())) if case.unordered else lines


# ---- comparing them ----

Messages = Sequence[tuple[str, list[str], str]]


def _compare_heard(ours: Messages, envoys: Messages) -> Iterator[Difference]:
    yield from _compare_messages("answer", ours, envoys)


def _compare_forwarded(ours: Messages, envoys: Messages) -> Iterator[Difference]:
    yield from _compare_messages("forwarded", ours, envoys)


def _compare_messages(what: str, ours: Messages, envoys: Messages) -> Iterator[Difference]:
    if len(ours) != len(envoys):
        yield Difference(f"{what}.count", _first_lines(ours), _first_lines(envoys))
        return
    for (first, lines, body), (their_first, their_lines, their_body) in zip(ours, envoys, strict=True):
        if first != their_first:
            yield Difference(f"{what}.line", first, their_first)
        if lines != their_lines:
            yield _headers(what, lines, their_lines)
        if body != their_body:
            yield Difference(f"{what}.body", body, their_body)


def _first_lines(messages: Messages) -> str:
    return "\n".join([str(len(messages)), *(first or body[:80] for first, _, body in messages)])


def _headers(what: str, ours: list[str], envoys: list[str]) -> Difference:
    """The field names the headers that differ, or says that their order does."""
    if sorted(ours) == sorted(envoys):
        return Difference(f"{what}.order", "\n".join(ours), "\n".join(envoys))
    one, other = Counter(ours), Counter(envoys)
    names = sorted({line.split(":")[0].lower() for line in ((one - other) + (other - one))})
    return Difference(f"{what}.header.{'+'.join(names)}", "\n".join(ours), "\n".join(envoys))


def _compare_log(ours: Sequence[Mapping[str, str]], envoys: Sequence[Mapping[str, str]]) -> Iterator[Difference]:
    if len(ours) != len(envoys):
        yield Difference("log.count", _log_lines(ours), _log_lines(envoys))
        return
    for one, other in zip(ours, envoys, strict=True):
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                yield Difference(f"log.{key}", str(one.get(key)), str(other.get(key)))


def _log_lines(lines: Iterable[Mapping[str, str]]) -> str:
    shown = [" ".join(f"{key}={value}" for key, value in line.items() if value != "-") for line in lines]
    return "\n".join([f"{len(shown)} lines", *shown])


def compare_stats(ours: Mapping[str, int], envoys: Mapping[str, int]) -> list[Difference]:
    """Counters and gauges that differ; one that is not there counts as 0."""
    return [
        Difference(name, str(ours.get(name, 0)), str(envoys.get(name, 0)))
        for name in sorted(ours.keys() | envoys.keys())
        if ours.get(name, 0) != envoys.get(name, 0)
    ]
