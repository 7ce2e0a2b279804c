"""What an admin handler is asked and what it answers; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"
HTML = "text/html; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """A request to the admin port. ``query`` holds the last value of each parameter; one without value is empty."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_target(cls, method: bytes, target: bytes) -> AdminRequest:
        """Split a request target into path and parameters."""
        path, _, query = target.decode("latin-1").partition("?")
        return cls(method.decode("latin-1"), path, dict(parse_qsl(query, keep_blank_values=True, max_num_fields=100)))

    def flag(self, name: str) -> bool:
        """Whether a parameter is given and not switched off."""
        value = self.query.get(name)
        return value is not None and value.lower() not in ("0", "false", "off", "n", "no")


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """Status and body. The body is made piece by piece, so that a long one neither fills memory nor holds up traffic."""

    status: int
    body: Iterable[str]
    content_type: str = TEXT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One admin path. ``mutates`` means that only POST is allowed; ``parameters`` are for the help text."""

    path: str
    help: str
    handle: Callable[[AdminRequest], AdminResponse]
    mutates: bool = False
    parameters: tuple[tuple[str, str], ...] = ()


def text(body: str, status: int = 200) -> AdminResponse:
    """A plain text answer."""
    return AdminResponse(status, (body,))
