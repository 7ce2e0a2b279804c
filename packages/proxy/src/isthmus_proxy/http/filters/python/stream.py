"""A filter in Python in one exchange: calls its hooks one at a time each way, and keeps what comes while one is waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from isthmus_proxy.extension.http_filter import Reply
from isthmus_proxy.http.filters.python.body_way import FAILED_OPEN, BodyWay
from isthmus_proxy.http.filters.python.directions import RequestDirection, ResponseDirection
from isthmus_proxy.http.filters.python.exchange_view import ExchangeView
from isthmus_proxy.http.filters.python.replies import FAILURES, from_reply, to_reply
from isthmus_proxy.http.filters.python.runner import Call, Failed, Hook, Runner
from isthmus_proxy.http.filters.stream_filter import CONTINUE, HOLD, STOP, FilterCallbacks, StreamFilter, Trailers
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import RequestHead, ResponseHead

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.python.config import Limits
    from isthmus_proxy.http.filters.python.hooks import Hooks


class PythonStream(StreamFilter):
    """See the module. ``over``: nothing more is asked of the filter but the end of the exchange."""

    __slots__ = ("_calls", "_exchange", "_hooks", "_limits", "_request", "_response", "_runner", "over")

    def __init__(
        self, callbacks: FilterCallbacks, runner: Runner, hooks: Hooks, limits: Limits, route_configs: tuple[Any, ...]
    ) -> None:
        super().__init__(callbacks)
        self._runner = runner
        self._hooks = hooks
        self._limits = limits
        self._exchange = ExchangeView(callbacks, route_configs)
        self._calls: list[Call] = []
        self._request: BodyWay | None = None
        self._response: BodyWay | None = None
        self.over = False

    # ---- hooks and what they answer ----

    def call(self, hook: Hook, subject: object, told: Callable[[object], None]) -> object | Call:
        """Run a hook of the exchange on ``subject``."""
        return self._runner.run(hook, (self._exchange, subject), told)

    def open_request(self) -> None:
        """Let the next hook change the request's head, which has not gone on yet."""
        self._exchange.open_request()

    def open_response(self, head: ResponseHead) -> None:
        """Let the next hook change the response's head, which has not gone on yet."""
        self._exchange.open_response(head)

    def settle(self, outcome: object) -> object:
        """What ``outcome`` means: None to go on, bytes for a body. Failures and replies are dealt with, and set ``over``."""
        if isinstance(outcome, Failed):
            self._exchange = self._exchange.renewed()
            if self._limits.fail_open:
                return FAILED_OPEN
            self._answer(FAILURES[outcome.details])
            return None
        self._exchange.commit()
        if isinstance(outcome, Reply):
            self._runner.stats.replies.value += 1
            self._answer(from_reply(outcome))
            return None
        if outcome is not None and not isinstance(outcome, bytes):
            return self.settle(self._runner.misused(outcome))
        return outcome

    def _answer(self, reply: LocalReply) -> None:
        self._stop()
        if self.callbacks.response_started:
            self.callbacks.cut_off(reply.details)
        else:
            self.callbacks.send_local_reply(reply)

    def _stop(self) -> None:
        """Ask the filter nothing more of this request and its response."""
        self.over = True
        for call in self._calls:
            call.abandon()
        self._calls.clear()
        for way in (self._request, self._response):
            if way is not None:
                way.abandon()

    # ---- the request ----

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Ask the hook of the request's head."""
        hooks = self._hooks
        if (hooks.request_data is not None or hooks.request_trailers is not None) and not end_stream:
            self._request = BodyWay(
                self,
                RequestDirection(self, self.callbacks),
                hooks.request_data,
                hooks.request_trailers,
                bound=self._limits.buffer_request_bytes,
                limit=self.callbacks.buffer_limit,
                changes=hooks.changes_request_body,
            )
        hook = hooks.request_headers
        if hook is None:
            return self._request_may_go()
        view = self._exchange.open_request()

        def told(outcome: object) -> None:
            self._calls.clear()
            status = self._request_head_done(outcome)
            if status == STOP:
                self.callbacks.collect_request()
            elif status == CONTINUE:
                self.callbacks.continue_decoding(self)

        outcome = self.call(hook, view, told)
        if type(outcome) is Call:
            self._calls.append(outcome)
            return HOLD
        return self._request_head_done(outcome)

    def _request_head_done(self, outcome: object) -> int:
        self.settle(outcome)
        return HOLD if self.over else self._request_may_go()

    def _request_may_go(self) -> int:
        """CONTINUE, or STOP where the body is collected first."""
        way = self._request
        if way is None or self.callbacks.upgrade:
            return CONTINUE
        if way.collects:
            return STOP
        if self._hooks.changes_request_body:
            head = self.callbacks.head
            head.headers = [field for field in head.headers if field[0] != b"content-length"]
        return CONTINUE

    def decode_data(self, data: bytes) -> bytes:
        """Ask the hook of the body."""
        way = self._request
        return data if way is None or self.over else way.data(data)

    def decode_end(self, trailers: Trailers) -> int:
        """Ask the hooks of a collected body and of trailers."""
        way = self._request
        return CONTINUE if way is None or self.over else way.end(trailers)

    # ---- the response ----

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Ask the hook of the response's head."""
        if self.over:
            return CONTINUE
        hooks = self._hooks
        if (hooks.response_data is not None or hooks.response_trailers is not None) and not end_stream:
            self._response = BodyWay(
                self,
                ResponseDirection(self, self.callbacks, head),
                hooks.response_data,
                hooks.response_trailers,
                bound=self._limits.buffer_response_bytes,
                limit=self.callbacks.buffer_limit,
                changes=hooks.changes_response_body,
            )
        hook = hooks.response_headers
        if hook is None:
            return self._response_may_go(head)
        view = self._exchange.open_response(head)

        def told(outcome: object) -> None:
            self._calls.clear()
            status = self._response_head_done(outcome, head)
            if status == STOP:
                self.callbacks.collect_response()
            elif status == CONTINUE:
                self.callbacks.continue_encoding(self)

        outcome = self.call(hook, view, told)
        if type(outcome) is Call:
            self._calls.append(outcome)
            return HOLD
        return self._response_head_done(outcome, head)

    def _response_head_done(self, outcome: object, head: ResponseHead) -> int:
        self.settle(outcome)
        return HOLD if self.over else self._response_may_go(head)

    def _response_may_go(self, head: ResponseHead) -> int:
        way = self._response
        if way is None:
            return CONTINUE
        if self._hooks.changes_response_body:
            head.headers = [field for field in head.headers if field[0] != b"content-length"]
        return STOP if way.collects else CONTINUE

    def encode_data(self, data: bytes) -> bytes:
        """Ask the hook of the body."""
        way = self._response
        return data if way is None or self.over else way.data(data)

    def encode_end(self, trailers: Trailers) -> int:
        """Ask the hooks of a collected body and of trailers."""
        way = self._response
        return CONTINUE if way is None or self.over else way.end(trailers)

    # ---- local replies and the end ----

    def local_reply(self, reply: LocalReply) -> LocalReply | None:
        """Ask the hook of local replies; if it fails the reply stays as it is."""
        self._stop()
        hook = self._hooks.local_reply
        if hook is None:
            return reply

        def told(outcome: object) -> None:
            self._calls.clear()
            self.callbacks.continue_local_reply(self._amended(outcome, reply))

        outcome = self.call(hook, to_reply(reply), told)
        if type(outcome) is Call:
            self._calls.append(outcome)
            return None
        return self._amended(outcome, reply)

    def _amended(self, outcome: object, reply: LocalReply) -> LocalReply:
        if outcome is not None and not isinstance(outcome, Reply | Failed):
            outcome = self._runner.misused(outcome)
        if isinstance(outcome, Failed):
            return reply
        self._exchange.commit()
        return from_reply(outcome, reply) if isinstance(outcome, Reply) else reply

    def on_destroy(self) -> None:
        """Let go of the exchange, and tell the filter."""
        self._stop()
        hook = self._hooks.end
        if hook is not None:
            info = self.callbacks.info
            status = info.status if self.callbacks.response_started else 0
            self._runner.run(hook, (self._exchange, status, info.response_code_details), _nobody)


def _nobody(_outcome: object) -> None:
    """Nothing waits for the end."""
