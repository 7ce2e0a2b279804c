"""How a response head changes on its way downstream, worked out once for each distinct head and set of header edits.

What differs from response to response is cut in: the upstream service time, and the date where the upstream sent none.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_proxy.codec.http1.framing import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.codec.http1.serialise import field_lines, status_line
from isthmus_proxy.http.forwarded import append_via
from isthmus_proxy.http.hop_by_hop import response_headers
from isthmus_proxy.http.message import Headers, ResponseHead, set_header
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.listener.model import HttpConnectionManagerConfig
from isthmus_proxy.route import rewrite
from isthmus_proxy.route.model import ClusterWeight, Decision, HeaderEdits

SERVICE_TIME = b"x-envoy-upstream-service-time"
_TIME_MARKER = bytes(bytearray(b"milliseconds"))
_DATE_MARKER = bytes(bytearray(b"date"))
X_REQUEST_ID = b"x-request-id"
ID_MARKER = b"\0request-id\0"  # cannot occur in a head: NUL is no field character
_MAX_STYLES = 1024


class Style:
    """One set of response header edits under one connection manager. ``static`` if no value depends on the exchange."""

    __slots__ = ("decision", "static", "weight")

    def __init__(self, decision: Decision, weight: ClusterWeight) -> None:
        self.decision = decision
        self.weight = weight
        edits = (weight.response_headers, *decision.response_edits)
        self.static = not any(edit.render is not None for level in edits for edit in level.add)


_StyleKey = tuple[tuple[HeaderEdits, ...], HeaderEdits, bool, bool]


class Styles:
    """The styles of one connection manager: routes whose responses change alike share one. Bounded by a fresh start.

    ``traced``: every request carries a trace context of its own upstream.
    """

    __slots__ = ("_styles", "suppress_envoy_headers", "traced")

    def __init__(self, *, suppress_envoy_headers: bool, traced: bool = False) -> None:
        self.traced = traced
        self._styles: dict[_StyleKey, Style] = {}
        self.suppress_envoy_headers = suppress_envoy_headers

    def of(self, decision: Decision, weight: ClusterWeight) -> Style:
        """The style of responses from ``weight``'s cluster by way of ``decision``."""
        attempts = decision.virtual_host.include_attempt_count_in_response
        wins = decision.configuration.most_specific_header_mutations_wins
        key = (decision.response_edits, weight.response_headers, wins, attempts)
        style = self._styles.get(key)
        if style is None:
            if len(self._styles) >= _MAX_STYLES:
                self._styles.clear()
            style = self._styles[key] = Style(decision, weight)
        return style


class ResponsePlan:
    """``before`` + milliseconds + ``middle`` + date line + ``after`` is the head; parts that do not occur are None or empty.

    ``chunked``: the body goes out chunked. ``identified``: the head has a place for the request's identifier. ``head`` is the
    head as a value, for the access log; ``time_index``, ``date_index`` and ``id_index`` are where these are in its headers, or -1.
    ``handed_on`` are the headers that filters were shown when the plan was made, None if there were none.
    """

    __slots__ = (
        "after",
        "before",
        "chunked",
        "date_index",
        "dated",
        "handed_on",
        "head",
        "id_index",
        "identified",
        "manager",
        "middle",
        "style",
        "time_index",
        "timed",
    )

    def __init__(
        self, manager: HttpConnectionManagerConfig, style: Style, head: ResponseHead, *, chunked: bool
    ) -> None:
        self.manager = manager
        self.style = style
        self.head = head
        self.handed_on: Headers | None = None
        self.chunked = chunked
        headers = head.headers
        self.time_index = _index_of(_TIME_MARKER, headers)
        self.date_index = date_index = _index_of(_DATE_MARKER, headers)
        self.id_index = _index_of(ID_MARKER, headers)
        self.timed = self.time_index >= 0
        self.dated = date_index >= 0
        self.identified = self.id_index >= 0
        self._compile(headers, date_index)

    def _compile(self, headers: Headers, date_index: int) -> None:
        """Work out the parts between which time and date are put."""
        line = status_line(self.head.status, self.head.version)
        until_time = self.time_index if self.timed else 0
        until_date = date_index if self.dated else len(headers)
        self.before = line + field_lines(headers[:until_time])
        if self.timed:
            self.before += SERVICE_TIME + b": "
            self.middle = b"\r\n" + field_lines(headers[until_time + 1 : until_date])
        else:
            self.middle = field_lines(headers[:until_date])
        self.after = field_lines(headers[until_date + 1 :]) + b"\r\n"

    def encode(self, milliseconds: int, date: bytes) -> bytes:
        """The bytes of the head."""
        if self.timed:
            if self.dated:
                return b"%b%d%bdate: %b\r\n%b" % (self.before, milliseconds, self.middle, date, self.after)
            return b"%b%d%b%b" % (self.before, milliseconds, self.middle, self.after)
        dated = b"date: %b\r\n" % date if self.dated else b""
        return b"%b%b%b%b" % (self.before, self.middle, dated, self.after)

    def fill(self, milliseconds: int, date: bytes, identifier: bytes) -> None:
        """Put what is cut into the bytes into ``head`` as well: for the loggers, which read it at once and nobody later."""
        headers = self.head.headers
        if self.timed:
            headers[self.time_index] = (SERVICE_TIME, b"%d" % milliseconds)
        if self.dated:
            headers[self.date_index] = (b"date", date)
        if self.identified:
            headers[self.id_index] = (X_REQUEST_ID, identifier)

    def head_for_filters(self, milliseconds: int) -> ResponseHead | None:
        """A head like the one that filters were shown, of their own to change; None if there was none."""
        if self.handed_on is None:
            return None
        headers = timed_headers(self.handed_on, milliseconds)
        return ResponseHead(self.head.status, headers, self.head.version)

    def identify(self, head: bytes, identifier: bytes) -> bytes:
        """``head`` with the request's identifier in its place (always_set_request_id_in_response), or without that line."""
        if identifier:
            return head.replace(ID_MARKER, identifier, 1)
        return head.replace(b"x-request-id: %b\r\n" % ID_MARKER, b"", 1)


def timed_headers(headers: Headers, milliseconds: int) -> Headers:
    """A copy of ``headers`` with the service time in its place."""
    copied = list(headers)
    index = _index_of(_TIME_MARKER, headers)
    if index >= 0:
        copied[index] = (SERVICE_TIME, b"%d" % milliseconds)
    return copied


def _index_of(marker: bytes, headers: Headers) -> int:
    for index, (_, value) in enumerate(headers):
        if value is marker:
            return index
    return -1


def make_response_plan(
    response: ParsedResponse,
    config: HttpConnectionManagerConfig,
    style: Style,
    info: StreamInfo,
    request: ParsedRequest,
    *,
    keep_alive: bool = True,
    cookies: Sequence[bytes] = (),
    plan_type: type[ResponsePlan] = ResponsePlan,
) -> ResponsePlan:
    """Work out the head of ``response`` to ``request``; ``info`` feeds the edits that depend on the exchange.

    ``keep_alive``: the connection takes further requests, which HTTP/1.0 has to be told. ``cookies``: set-cookie headers of
    hash policies.
    """
    head = response_plan_head(response, config, style, info, request, cookies=cookies)
    return finish_response_plan(head, response, config, style, request, keep_alive=keep_alive, plan_type=plan_type)


def response_plan_head(
    response: ParsedResponse,
    config: HttpConnectionManagerConfig,
    style: Style,
    info: StreamInfo,
    request: ParsedRequest,
    *,
    cookies: Sequence[bytes] = (),
    milliseconds: int = -1,
) -> ResponseHead:
    """The head as the router hands it on: what filters see. ``milliseconds``: the service time, -1 = put in later."""
    headers = response_headers(response)
    if not config.suppress_envoy_headers and not request.switches:  # such a request never ends
        set_header(headers, SERVICE_TIME, _TIME_MARKER if milliseconds < 0 else b"%d" % milliseconds)
    headers += [(b"set-cookie", cookie) for cookie in cookies]
    head = ResponseHead(response.status, headers, request.version)
    info.response = head
    rewrite.apply_response(style.decision, style.weight, headers, info)
    if style.decision.virtual_host.include_attempt_count_in_response:
        set_header(headers, b"x-envoy-attempt-count", b"%d" % info.attempts)
    return head


def finish_response_plan(
    head: ResponseHead,
    response: ParsedResponse,
    config: HttpConnectionManagerConfig,
    style: Style,
    request: ParsedRequest,
    *,
    keep_alive: bool,
    plan_type: type[ResponsePlan] = ResponsePlan,
) -> ResponsePlan:
    """The rest: what the connection manager adds to every response, and the framing of the body."""
    headers = head.headers
    if not any(name == b"date" for name, _ in headers):
        headers.append((b"date", _DATE_MARKER))
    _set_server(headers, config)
    if config.always_set_request_id_in_response:
        set_header(headers, X_REQUEST_ID, ID_MARKER)
    if config.via:
        append_via(headers, config.via)
    head.headers, chunked = frame_response(response, headers, request.method)
    if request.version == b"HTTP/1.0":
        head.headers = _for_http_10(head.headers, keep_alive=keep_alive)
        return plan_type(config, style, head, chunked=False)
    return plan_type(config, style, head, chunked=chunked)


def _for_http_10(headers: Headers, *, keep_alive: bool) -> Headers:
    """An HTTP/1.0 client knows no transfer coding: the body ends with the connection where its length is not known."""
    if (b"transfer-encoding", b"chunked") in headers:
        return [field for field in headers if field[0] != b"transfer-encoding"]
    return [*headers, (b"connection", b"keep-alive")] if keep_alive else headers


def _set_server(headers: Headers, config: HttpConnectionManagerConfig) -> None:
    """``server`` as server_header_transformation says."""
    mode = config.server_header_transformation
    if mode == "OVERWRITE" or (mode == "APPEND_IF_ABSENT" and not any(name == b"server" for name, _ in headers)):
        set_header(headers, b"server", config.server_name)


def frame_response(response: ParsedResponse, headers: Headers, method: bytes) -> tuple[Headers, bool]:
    """``headers`` with exactly the framing with which the body will be sent, and whether that is chunked."""
    if method == b"CONNECT" and 200 <= response.status < 300:
        return [field for field in headers if field[0] not in (b"content-length", b"transfer-encoding")], False
    lengths = [value for name, value in headers if name == b"content-length"]
    has_body = method != b"HEAD" and response.framing != NO_BODY
    if response.framing == LENGTH and lengths == [b"%d" % response.length]:
        return headers, False
    if response.status in (101, 204):
        return [field for field in headers if field[0] != b"content-length"], False
    if response.framing == NO_BODY and response.status == 304:
        return headers, False
    if response.framing == NO_BODY and lengths == [b"0"]:
        return headers, False
    kept = [field for field in headers if field[0] not in (b"content-length", b"transfer-encoding")]
    if response.framing in (LENGTH, CHUNKED, UNTIL_CLOSE):
        return [*kept, (b"transfer-encoding", b"chunked")], has_body
    return [*kept, (b"content-length", b"0")], False
