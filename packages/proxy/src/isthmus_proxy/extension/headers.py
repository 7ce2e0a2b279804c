"""Headers and heads as filters in Python see them: texts, names in lower case, in the order of the wire.

Values are what is on the wire, as Latin-1 text. What could break a head (a line end, a NUL, a name that is no token) is refused
where it is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar, overload

T = TypeVar("T")
RawHeaders = list[tuple[bytes, bytes]]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def header_name(name: str) -> bytes:
    """``name`` in lower case as bytes. Raises ValueError if it is no token (RFC 9110, 5.6.2)."""
    lower = name.lower()
    if not _NAME.fullmatch(lower):
        message = f"{name!r} is no header name"
        raise ValueError(message)
    return lower.encode("ascii")


def header_value(value: str) -> bytes:
    """``value`` as bytes. Raises ValueError if it has control characters, or any beyond Latin-1."""
    if _BAD_VALUE.search(value):
        message = f"{value!r} is no header value: it has control characters"
        raise ValueError(message)
    return value.strip(" \t").encode("latin-1")


class Headers:
    """The fields of a head, or trailers. A name may occur several times; ``name`` is taken in any case."""

    __slots__ = ("raw",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.raw: RawHeaders = [(header_name(name), header_value(value)) for name, value in fields]

    @classmethod
    def of_raw(cls, raw: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Headers with a copy of ``raw``, whose names are in lower case."""
        headers = cls()
        headers.raw = [*raw]
        return headers

    @overload
    def get(self, name: str) -> str | None: ...

    @overload
    def get(self, name: str, default: T) -> str | T: ...

    def get(self, name: str, default: object = None) -> object:
        """The first value of ``name``, ``default`` if there is none."""
        wanted = name.lower().encode("latin-1")
        for key, value in self.raw:
            if key == wanted:
                return value.decode("latin-1")
        return default

    def get_all(self, name: str) -> list[str]:
        """All values of ``name``."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, value in self.raw if key == wanted]

    def set(self, name: str, value: str) -> None:
        """Let ``name`` occur once, with ``value``, at its first place or at the end."""
        key, data = header_name(name), header_value(value)
        for index, (present, _) in enumerate(self.raw):
            if present == key:
                self.raw[index:] = [(key, data), *(field for field in self.raw[index + 1 :] if field[0] != key)]
                return
        self.raw.append((key, data))

    def add(self, name: str, value: str) -> None:
        """Add a field at the end."""
        self.raw.append((header_name(name), header_value(value)))

    def remove(self, name: str) -> bool:
        """Remove all fields called ``name``; whether there were any."""
        wanted = name.lower().encode("latin-1")
        kept = [field for field in self.raw if field[0] != wanted]
        found = len(kept) != len(self.raw)
        self.raw = kept
        return found

    def items(self) -> list[tuple[str, str]]:
        """All fields in order."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.items())

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.items()!r})"


class RequestHeaders(Headers):
    """The head of a request. ``host`` is no header: it is ``authority``, as in HTTP/2."""

    __slots__ = ("_authority", "_method", "_path", "_scheme")

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        authority: str = "localhost",
        fields: Iterable[tuple[str, str]] = (),
        scheme: str = "http",
    ) -> None:
        super().__init__(fields)
        self.set_raw(b"", b"", b"", b"")
        self.method, self.path, self.authority, self._scheme = method, path, authority, scheme.encode("latin-1")

    def copy(self) -> RequestHeaders:
        """The same, apart."""
        return RequestHeaders(self.method, self.path, self.authority, self.items(), self.scheme)

    def set_raw(self, method: bytes, path: bytes, authority: bytes, scheme: bytes) -> None:
        """Set everything but the fields, without a check."""
        self._method, self._path, self._authority, self._scheme = method, path, authority, scheme

    @property
    def method(self) -> str:
        """The method."""
        return self._method.decode("latin-1")

    @method.setter
    def method(self, value: str) -> None:
        if not value or not _NAME.fullmatch(value.lower()):
            message = f"{value!r} is no method"
            raise ValueError(message)
        self._method = value.encode("ascii")

    @property
    def path(self) -> str:
        """Path and query."""
        return self._path.decode("latin-1")

    @path.setter
    def path(self, value: str) -> None:
        self._path = _target(value, "path")

    @property
    def authority(self) -> str:
        """Host, and port if there is one."""
        return self._authority.decode("latin-1")

    @authority.setter
    def authority(self, value: str) -> None:
        self._authority = _target(value, "authority")

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self._scheme.decode("latin-1")

    @property
    def raw_target(self) -> tuple[bytes, bytes, bytes]:
        """(method, path, authority) as bytes."""
        return self._method, self._path, self._authority


class ResponseHeaders(Headers):
    """The head of a response."""

    __slots__ = ("_status",)

    def __init__(self, status: int = 200, fields: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(fields)
        self.status = status

    def copy(self) -> ResponseHeaders:
        """The same, apart."""
        return ResponseHeaders(self.status, self.items())

    def set_raw(self, status: int) -> None:
        """Set the status without a check."""
        self._status = status

    @property
    def status(self) -> int:
        """The status code."""
        return self._status

    @status.setter
    def status(self, value: int) -> None:
        if not 200 <= value <= 599:
            message = f"{value} is no final status: it must be from 200 to 599"
            raise ValueError(message)
        self._status = value


def _target(value: str, what: str) -> bytes:
    if not value or _BAD_VALUE.search(value) or " " in value or "\t" in value:
        message = f"{value!r} is no {what}"
        raise ValueError(message)
    return value.encode("latin-1")
