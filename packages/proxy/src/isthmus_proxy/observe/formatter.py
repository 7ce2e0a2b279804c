"""Access log formats: parsed and checked once, then rendered per request (Envoy's substitution format strings).

Grammar: ``%NAME%``, ``%NAME(argument)%``, ``%NAME(argument):length%``, and ``%%`` for a per cent sign.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.metadata_operators import OF_FILTERS, metadata_value
from isthmus_proxy.observe.operators import WITH_HEADER, WITH_TIME, Reader, Value, of_heads, plain_reader, settle
from isthmus_proxy.route.memo import Memo

Render = Callable[[StreamInfo], bytes]
"""One finished line, or one JSON document, for one exchange."""

DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)
"""What Envoy writes when a file access log has no format."""

_COMMAND = re.compile(r"%(?:%|([A-Z0-9_]+)(?:\(([^)]*)\))?(?::(\d+))?%)")


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a format, and how to read it; ``cut`` if it has a length."""

    name: str
    argument: str
    cut: bool
    read: Reader

    def settled(self, info: StreamInfo, unset: str) -> str | Operator:
        """What it is in all exchanges with the heads of ``info``: a text, or how to read it best."""
        if of_heads(self.name, self.argument):
            value = self.read(info)
            return unset if value is None else str(value)
        read = None if self.cut else settle(self.name, self.argument, info)
        return self if read is None else Operator(self.name, self.argument, self.cut, read)


_Piece = str | Operator

LINES_LIMIT = 1024
"""Pairs of heads for which one format remembers what its lines have in common."""


class TextLine:
    """The renderer of one text. ``unset`` stands for values that are not known; the text ``varies`` if it has operators.

    What depends on nothing but heads that repeat is rendered once for each pair of them.
    """

    __slots__ = ("_common", "_pieces", "_readers", "_template", "_unset", "varies")

    def __init__(self, pieces: list[_Piece], unset: str) -> None:
        self._pieces = pieces
        self._unset = unset
        self._template, self._readers = _join(pieces)
        self._common: Memo[tuple[str, tuple[Reader, ...]]] = Memo(LINES_LIMIT)
        self.varies = bool(self._readers)

    def __call__(self, info: StreamInfo) -> bytes:
        """The line of one exchange."""
        request, response, unset = info.request, info.response, self._unset
        if request is not None and response is not None and request.repeated and response.repeated:
            template, readers = self._common.get((request, response)) or self._fix(info)
        else:
            template, readers = self._template, self._readers
        values = tuple([unset if (value := read(info)) is None else value for read in readers])
        return (template % values).encode("latin-1", "replace")

    @property
    def remembered(self) -> int:
        """For how many pairs of heads something is remembered."""
        return self._common.size

    def constant(self, info: StreamInfo) -> bytes:
        """The line, if it does not vary."""
        del info
        return (self._template % ()).encode("latin-1", "replace")

    def _fix(self, info: StreamInfo) -> tuple[str, tuple[Reader, ...]]:
        """Template and readers for exchanges with the heads of ``info``, whose share of the text is fixed."""
        pieces = [piece if isinstance(piece, str) else piece.settled(info, self._unset) for piece in self._pieces]
        common = _join(pieces)
        self._common.put((info.request, info.response), common)
        return common


def _join(pieces: list[_Piece]) -> tuple[str, tuple[Reader, ...]]:
    """One %-template for the whole line, which the interpreter joins in one step, and what reads its values."""
    template = "".join(["%s" if isinstance(piece, Operator) else piece.replace("%", "%%") for piece in pieces])
    return template, tuple([piece.read for piece in pieces if isinstance(piece, Operator)])


def compile_text(text: str, *, omit_empty: bool = False, path: str = "text_format") -> Render:
    """A renderer of ``text``. Unknown values print as ``-``, or as nothing with ``omit_empty``.

    Raises ConfigError, at ``path``, for an operator that is unknown or used wrongly.
    """
    line = TextLine(_parse(text, path), "" if omit_empty else "-")
    return line if line.varies else line.constant


def compile_json(
    document: Mapping[str, object] | tuple[tuple[str, object], ...],
    *,
    omit_empty: bool = False,
    path: str = "json_format",
) -> Render:
    """A renderer of one JSON object a line, keys sorted as Envoy's.

    Values are format strings, numbers, booleans, None, lists, or nested documents. A string that is one operator keeps
    the operator's type: numbers stay numbers and unknown values are null (or leave with their key, ``omit_empty``).
    """
    build = _json_value(document, omit_empty=omit_empty, path=path)
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

    def render(info: StreamInfo) -> bytes:
        return encode(build(info)).encode("utf-8", "replace") + b"\n"

    return render


_Build = Callable[[StreamInfo], object]


def _json_value(value: object, *, omit_empty: bool, path: str) -> _Build:
    if isinstance(value, str):
        return _json_text(value, omit_empty=omit_empty, path=path)
    if isinstance(value, Mapping):
        return _json_object(tuple(value.items()), omit_empty=omit_empty, path=path)
    if isinstance(value, tuple):
        return _json_object(value, omit_empty=omit_empty, path=path)
    if isinstance(value, list):
        items = [_json_value(item, omit_empty=omit_empty, path=f"{path}[{i}]") for i, item in enumerate(value)]
        return lambda info: [build(info) for build in items]
    if isinstance(value, float) and value.is_integer():
        whole = int(value)  # google.protobuf.Value has only doubles; Envoy prints 3.0 as 3
        return lambda info: whole
    if value is None or isinstance(value, bool | int | float):
        return lambda info: value
    raise ConfigError(path, str(value), "a JSON format takes strings, numbers, booleans, lists and objects")


def _json_object(pairs: tuple[tuple[str, object], ...], *, omit_empty: bool, path: str) -> _Build:
    fields = sorted((key, _json_value(value, omit_empty=omit_empty, path=f"{path}.{key}")) for key, value in pairs)
    if not omit_empty:
        return lambda info: {key: build(info) for key, build in fields}
    return lambda info: {key: value for key, build in fields if (value := build(info)) is not None}


def _json_text(text: str, *, omit_empty: bool, path: str) -> _Build:
    pieces = _parse(text, path)
    if len(pieces) == 1:
        piece = pieces[0]
        if isinstance(piece, str):
            constant = _unicode(piece)
            return lambda info: constant
        if piece.name == "DYNAMIC_METADATA" and not piece.cut:
            return metadata_value(piece.argument)
        read = piece.read
        return lambda info: _unicode(read(info))
    line = compile_text(text, omit_empty=omit_empty, path=path)
    return lambda info: _unicode(line(info).decode("latin-1"))


def _unicode(value: Value) -> Value:
    """Latin-1 decoded bytes as the UTF-8 text they are, or unchanged when they are none (Envoy does the same)."""
    if not isinstance(value, str) or value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _parse(text: str, path: str) -> list[_Piece]:
    """Literals (latin-1 decoded UTF-8) and readers in order."""
    pieces: list[_Piece] = []
    literal = ""
    position = 0
    while (start := text.find("%", position)) >= 0:
        found = _COMMAND.match(text, start)
        if found is None:
            reason = f"no valid command at position {start}; write %% for a per cent sign"
            raise ConfigError(path, text, reason)
        literal += text[position:start]
        position = found.end()
        if found[1] is None:
            literal += "%"
            continue
        if literal:
            pieces.append(literal.encode().decode("latin-1"))
            literal = ""
        pieces.append(Operator(found[1], found[2] or "", found[3] is not None, _reader(found, path)))
    literal += text[position:]
    if literal or not pieces:
        pieces.append(literal.encode().decode("latin-1"))
    return pieces


def _reader(found: re.Match[str], path: str) -> Reader:
    name, argument, length = found.groups()
    plain = plain_reader(name)
    if plain is not None:
        if argument is not None or length is not None:
            raise ConfigError(path, found[0], f"{name} takes no argument and no length")
        return plain
    if name in WITH_TIME:
        if length is not None:
            raise ConfigError(path, found[0], f"{name} takes no length")
        return WITH_TIME[name](argument or "")
    make = WITH_HEADER.get(name) or OF_FILTERS.get(name)
    if make is None:
        raise ConfigError(path, found[0], f"unknown or unsupported operator {name}; see docs/reference/proxy.md")
    if not argument:
        raise ConfigError(path, found[0], f"{name} needs a name in brackets")
    try:
        read = make(argument)
    except ValueError as error:
        raise ConfigError(path, found[0], str(error)) from None
    return read if length is None else _cut(read, int(length))


def _cut(read: Reader, length: int) -> Reader:
    def cut(info: StreamInfo) -> Value:
        value = read(info)
        return value[:length] if isinstance(value, str) else value

    return cut
