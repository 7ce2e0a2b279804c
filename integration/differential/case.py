"""Cases as data: files of YAML, one a group, read into values. Pure but for `load`. `groups/README.md` describes the form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "groups"
STATS = "stats"
"""The name of the comparison of a whole group's stats, which stands beside the names of cases."""
METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "connect")
REASONS = {
    101: "Switching Protocols", 103: "Early Hints", 200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified",
    404: "Not Found", 409: "Conflict", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


class CaseError(ValueError):
    """A case file says something that cannot be understood; the message names file and case."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an upstream does for one request.

    Attributes:
        when: "request" (it is complete), "head" (its head is there) or "connect" (the connection is).
        pieces: (seconds before, bytes), sent in turn.
        after: what becomes of the connection: "keep", "close", "reset", "hang" (nothing more is said) or "tunnel" (echo).
        usual: an answer that names the upstream, in place of pieces.
        grpc: what a gRPC upstream answers.
    """

    when: str = "request"
    pieces: tuple[tuple[float, bytes], ...] = ()
    after: str = "keep"
    usual: bool = False
    grpc: Mapping[str, Any] | None = None


USUAL = Answer(usual=True)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the client does: ``action`` with its value, on the connection of that name."""

    action: str
    value: Any
    on: str = "main"


@dataclass(frozen=True, slots=True)
class Case:
    """One conversation and how its two observations are compared.

    Attributes:
        steps: what the client does.
        answers: per upstream ("*" for all that are not named) what it does for the first, second ... request.
        always: what it does when these are used up.
        forwards: how many requests must have reached upstreams before the case is over (mirrors come late).
        rename: endpoints are compared by the order in which they first appear, since balancers start anywhere.
        spread: shares of requests by endpoint are compared instead, with this tolerance.
        unordered: forwarded requests are compared without regard to their order.
    """

    group: str
    name: str
    listener: str
    steps: tuple[Step, ...]
    answers: Mapping[str, tuple[Answer, ...]]
    always: Answer
    forwards: int
    rename: bool
    spread: float | None
    unordered: bool

    @property
    def full_name(self) -> str:
        """Group and name."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True, slots=True)
class Group:
    """The cases of one bootstrap. ``spec`` is the file's own part of it; ``stats`` are patterns of the stats to compare."""

    name: str
    spec: Mapping[str, Any]
    cases: tuple[Case, ...]
    stats: tuple[str, ...]
    text: str = ""

    def filled(self) -> Group:
        """The group with the tokens and key sets that its file asks for; they are only made for groups that run."""
        if "<jw" not in self.text:
            return self
        from differential.tokens import replaced

        return read(self.name, replaced(self.text))


_CASE_KEYS = frozenset(
    ["name", "why", "listener", "steps", "answers", "answers_of", "always", "forwards", "rename", "spread", "unordered", "times", "raw",
     "host", "headers", "body", "chunked", "closed", *METHODS]
)  # fmt: skip
_GROUP_KEYS = frozenset(
    ["about", "manager", "routes", "virtual_hosts", "route_config", "clusters", "listeners", "bootstrap", "upstreams",
     "cases", "defaults", "stats", "listener", "runtime", "log"]
)  # fmt: skip
DEFAULT_STATS = ("http.*.downstream_rq_*", "http.*.rq_*", "http.*.no_*", "cluster.*.upstream_rq_*", "cluster.*retry*")


def load(folder: Path = FOLDER) -> list[Group]:
    """All groups, by file name."""
    return [read(path.stem, path.read_text()) for path in sorted(folder.glob("*.yaml"))]


def read(name: str, text: str) -> Group:
    """The group of one file. Raises CaseError."""
    raw = yaml.safe_load(text)
    if unknown := sorted(raw.keys() - _GROUP_KEYS):
        raise CaseError(f"{name}: unknown keys {', '.join(unknown)}")
    defaults = raw.get("defaults", {})
    cases = tuple(_case(name, {**defaults, **each}) for each in raw["cases"])
    names = [case.name for case in cases]
    if twice := sorted({each for each in names if names.count(each) > 1 or each == STATS}):
        raise CaseError(f"{name}: cases of the same name: {', '.join(twice)}")
    return Group(name, raw, cases, tuple(raw.get("stats", DEFAULT_STATS)), text)


def _case(group: str, raw: Mapping[str, Any]) -> Case:
    name = f"{group}/{raw.get('name')}"
    if unknown := sorted(raw.keys() - _CASE_KEYS):
        raise CaseError(f"{name}: unknown keys {', '.join(unknown)}")
    by_upstream = {"*": raw.get("answers", []), **raw.get("answers_of", {})}
    return Case(
        group=group,
        name=str(raw["name"]),
        listener=raw.get("listener", "main"),
        steps=tuple(_steps(raw)),
        answers={key: tuple(answer(each) for each in _list(value)) for key, value in by_upstream.items()},
        always=answer(raw["always"]) if "always" in raw else USUAL,
        forwards=int(raw.get("forwards", 0)),
        rename=bool(raw.get("rename", False)),
        spread=raw.get("spread"),
        unordered=bool(raw.get("unordered", False)),
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _steps(raw: Mapping[str, Any]) -> Iterator[Step]:
    if "steps" in raw:
        for each in raw["steps"]:
            connection = each.get("by", "main")
            for action, value in each.items():
                if action != "by":
                    yield Step(action, _step_value(action, value), connection)
        return
    sent = raw_bytes(raw["raw"]) if "raw" in raw else request(raw)
    method = sent.split(b" ", 1)[0]
    for _ in range(int(raw.get("times", 1))):
        yield Step("send", sent)
        yield Step("read", method)
    if raw.get("closed"):
        yield Step("closed", True)


def _step_value(action: str, value: Any) -> Any:
    if action == "send":
        return raw_bytes(value)
    if action == "request":
        return request(value)
    return value.encode() if isinstance(value, str) and action != "admin" else value


def raw_bytes(value: Any) -> bytes:
    """A string (a character a byte), or a list of strings and ``{fill: x, times: n}``."""
    if isinstance(value, str):
        return value.encode("latin-1")
    return b"".join(
        part.encode("latin-1")
        if isinstance(part, str)
        else b"".join(str(part["fill"]).replace("{n}", str(n)).encode("latin-1") for n in range(part["times"]))
        for part in value
    )


def fields(value: Any) -> list[tuple[str, str]]:
    """Headers given as a mapping or as a list of pairs."""
    pairs = value.items() if isinstance(value, dict) else value
    return [(str(name), str(text)) for name, text in pairs]


def request(raw: Mapping[str, Any]) -> bytes:
    """A request as a well-behaved client sends it."""
    method = next((each for each in METHODS if each in raw), None)
    if method is None:
        raise CaseError(f"{raw.get('name')}: no method among {', '.join(METHODS)}")
    lines = [f"{method.upper()} {raw[method]} HTTP/1.1", f"Host: {raw.get('host', 'a.test')}"]
    lines += [f"{name}: {value}" for name, value in fields(raw.get("headers", {}))]
    body = raw_bytes(raw.get("body", ""))
    if raw.get("chunked"):
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif "body" in raw:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answer(raw: Any) -> Answer:
    """An upstream's answer: a status, "usual", "hang", "close", "reset", or a mapping of how it is made."""
    if isinstance(raw, int):
        return answer({"status": raw})
    if raw == "usual":
        return USUAL
    if isinstance(raw, str):
        return Answer(after=raw)
    if "message" in raw or "grpc_status" in raw:
        return Answer(grpc=raw)
    pieces: list[tuple[float, bytes]] = []
    if "status" in raw:
        pieces.append((float(raw.get("delay", 0)), _response(raw)))
    elif "raw" in raw:
        pieces.append((float(raw.get("delay", 0)), raw_bytes(raw["raw"])))
    pieces += [(float(each.get("delay", 0)), raw_bytes(each["raw"])) for each in raw.get("then", [])]
    if "delay" in raw and not pieces:
        pieces.append((float(raw["delay"]), b""))
    usual = not pieces and not raw.keys() - {"when"}
    return Answer(raw.get("when", "request"), tuple(pieces), raw.get("after", "keep"), usual)


def _response(raw: Mapping[str, Any]) -> bytes:
    status = raw["status"]
    body = raw_bytes(raw.get("body", ""))
    lines = [f"HTTP/1.1 {status} {raw.get('reason', REASONS.get(status, 'Status'))}"]
    lines += [f"{name}: {value}" for name, value in fields(raw.get("headers", {}))]
    if raw.get("chunked"):
        lines.append("transfer-encoding: chunked")
        body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        trailers = "".join(f"{name}: {value}\r\n" for name, value in fields(raw.get("trailers", {})))
        body += b"0\r\n" + trailers.encode("latin-1") + b"\r\n"
    elif status >= 200 and status not in (204, 304) and raw.get("framing", True):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
