"""ext_authz: lets requests pass that a service lets pass, asked over HTTP or gRPC (envoy.extensions.filters.http.ext_authz.v3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from isthmus_proxy.authz.http_check import check_request, read_answer, told
from isthmus_proxy.authz.model import FAILED, Asked, BodySettings, Fields, GrpcServer, HttpServer, Patterns, Verdict
from isthmus_proxy.http.cluster_call import Answer, call, own_request
from isthmus_proxy.http.filters.stream_filter import (
    CONTINUE,
    HOLD,
    STOP,
    FilterCallbacks,
    FilterContext,
    StreamFilter,
    Trailers,
)
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers, RequestHead, ResponseHead, set_header
from isthmus_proxy.runtime import Fraction

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Surroundings

NAMESPACE = "envoy.filters.http.ext_authz"
MAX_ANSWER = 1024 * 1024
"""Bytes of a refusal's body; a longer one is a failure of the service."""
_ALWAYS = Fraction(100)
_FAILURE_ALLOWED = (b"x-envoy-auth-failure-mode-allowed", b"true")
_UNTOUCHABLE = (b"host", b":authority", b":method", b":path", b":scheme")


@dataclass(frozen=True, slots=True)
class ExtAuthzConfig:
    """ExtAuthz. ``body`` None: the service is not told bodies; ``allowed_headers`` None: it is told those of its protocol."""

    server: HttpServer | GrpcServer
    allow_on_failure: bool = False
    tell_of_failure: bool = False
    body: BodySettings | None = None
    clear_route_cache: bool = False
    status_on_error: int = 403
    allowed_headers: Patterns | None = None
    disallowed_headers: Patterns = ()
    metadata_namespaces: tuple[str, ...] = ()
    route_metadata_namespaces: tuple[str, ...] = ()
    enabled: Fraction = _ALWAYS
    stat_prefix: str = ""
    charge_cluster: bool = True
    take_metadata: bool = True

    def make(self, context: FilterContext) -> ExtAuthzFactory:
        """See ``FilterConfig``."""
        return ExtAuthzFactory(self, context)


@dataclass(frozen=True, slots=True)
class ExtAuthzPerRoute:
    """ExtAuthzPerRoute. ``context`` is told to the service; ``body`` replaces the filter's, ``without_body`` does away with it."""

    disabled: bool = False
    context: Fields = ()
    without_body: bool = False
    body: BodySettings | None = None


class Cancellable(Protocol):
    """A check that runs."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""


class ExtAuthzFactory:
    """See ``FilterFactory``."""

    __slots__ = (
        "_prefix", "clock", "config", "denied", "disabled", "error", "failure_mode_allowed", "ok", "reactor", "runtime", "surroundings",
    )  # fmt: skip

    def __init__(self, config: ExtAuthzConfig, context: FilterContext) -> None:
        self.config = config
        self.surroundings: Surroundings = context.surroundings
        self.reactor = context.surroundings.reactor
        self.clock = context.surroundings.clock
        self.runtime = context.runtime
        self._prefix = prefix = f"ext_authz.{config.stat_prefix}." if config.stat_prefix else "ext_authz."
        counter = context.stats.counter
        self.ok = counter(f"{prefix}ok")
        self.denied = counter(f"{prefix}denied")
        self.error = counter(f"{prefix}error")
        self.disabled = counter(f"{prefix}disabled")
        self.failure_mode_allowed = counter(f"{prefix}failure_mode_allowed")

    def create(self, callbacks: FilterCallbacks, overrides: tuple[ExtAuthzPerRoute, ...]) -> ExtAuthz | None:
        """A filter for one exchange, unless no route fits, or its most specific configuration disables it."""
        if callbacks.decision is None or (overrides and overrides[-1].disabled):
            return None
        context: dict[bytes, bytes] = {}
        for each in overrides:
            context.update(each.context)
        body = self.config.body
        if overrides:
            body = None if overrides[-1].without_body else overrides[-1].body or body
        return ExtAuthz(callbacks, self, tuple(context.items()), body)

    def count_for_cluster(self, cluster: str, name: str) -> None:
        """Count for the cluster to which the request is routed."""
        found = self.surroundings.clusters.get(cluster)
        if found is not None:
            found.stats.scope.counter(self._prefix + name).value += 1

    def charge(self, cluster: str, status: int) -> None:
        """Count a refusal as a response of the cluster to which the request is routed."""
        found = self.surroundings.clusters.get(cluster) if self.config.charge_cluster else None
        if found is not None:
            stats = found.stats
            stats.upstream_rq_completed.value += 1
            stats.classes[status // 100 if status < 600 else 0].value += 1
            stats.code(status).value += 1


class ExtAuthz(StreamFilter):
    """See the module."""

    __slots__ = (
        "_asked_at",
        "_body",
        "_call",
        "_context",
        "_factory",
        "_head",
        "_over",
        "_pieces",
        "_size",
        "_started",
        "_stopped",
        "_verdict",
    )

    def __init__(
        self, callbacks: FilterCallbacks, factory: ExtAuthzFactory, context: Fields, body: BodySettings | None
    ) -> None:
        super().__init__(callbacks)
        self._factory = factory
        self._context = context
        self._body = body
        self._head = callbacks.head
        self._pieces: list[bytes] = []
        self._size = 0
        self._started = False
        self._asked_at = 0.0
        self._stopped = False
        self._over = False
        self._call: Cancellable | None = None
        self._verdict: Verdict | None = None

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        """Ask, at once or when there is as much of the body as the service is told."""
        factory = self._factory
        self._head = head
        if not factory.runtime.admits(factory.config.enabled, self.callbacks.random()):
            factory.disabled.value += 1
            return CONTINUE
        if self._body is not None and not end_stream and not self.callbacks.upgrade:
            if not self._body.partial:
                self.callbacks.set_decoder_buffer_limit(self._body.limit)
            self._stopped = True
            return STOP
        self._ask(complete=end_stream)
        return HOLD

    def decode_data(self, data: bytes) -> bytes:
        """Collect what the service is told."""
        if self._stopped and not self._started and self._body is not None:
            self._pieces.append(data)
            self._size += len(data)
            if self._body.partial and self._size > self._body.limit:
                self.callbacks.hold_request()
                self._ask(complete=False)
        return data

    def decode_end(self, trailers: Trailers) -> int:
        """All of the body is here."""
        if self._stopped and not self._started:
            self._ask(complete=True)
        return CONTINUE

    def _ask(self, *, complete: bool) -> None:
        self._started = True
        self._asked_at = self.callbacks.now
        factory, server = self._factory, self._factory.config.server
        asked = self._asked(complete=complete)
        if isinstance(server, HttpServer):
            bare, body = check_request(asked, server)
            head = own_request(bare.method, bare.path, bare.authority, bare.headers, server.timeout, forwarded=False)
            self._call = call(
                factory.surroundings,
                server.cluster,
                head,
                body,
                timeout=server.timeout,
                limit=MAX_ANSWER,
                ended=self._answered,
            )
            return
        self._call = _grpc_check(factory.surroundings, server, asked, self._decided)

    def _asked(self, *, complete: bool) -> Asked:
        config, head, callbacks = self._factory.config, self._head, self.callbacks
        info = callbacks.info
        http = isinstance(config.server, HttpServer)
        told_headers = tuple(
            each for each in head.headers if told(each[0], config.allowed_headers, config.disallowed_headers, http=http)
        )
        body = b"".join(self._pieces)
        partial = None
        if self._body is not None and self._stopped:
            partial = not complete or len(body) > self._body.limit
            body = body[: self._body.limit]
        metadata = info.dynamic_metadata or {}
        route: Any = callbacks.decision.route.metadata if callbacks.decision is not None else {}
        return Asked(
            head.method,
            head.scheme,
            head.authority,
            head.path,
            told_headers,
            body,
            partial,
            as_bytes=self._body is not None and self._body.as_bytes,
            protocol=info.protocol,
            size=info.bytes_received,
            stream_id=str(info.connection_id),
            source=info.downstream_remote,
            destination=info.downstream_local,
            time=self._factory.clock.at(info.started_at),
            context=self._context,
            metadata={name: metadata[name] for name in config.metadata_namespaces if name in metadata},
            route_metadata={name: route[name] for name in config.route_metadata_namespaces if name in route},
        )

    def _answered(self, outcome: Answer | str) -> None:
        server = self._factory.config.server
        answer = isinstance(outcome, Answer) and isinstance(server, HttpServer)
        self._decided(read_answer(outcome, server) if answer else FAILED)  # type: ignore[arg-type]

    def _decided(self, verdict: Verdict) -> None:
        self._call = None
        if self._over:
            return
        if verdict.metadata and self._factory.config.take_metadata:
            took = int((self.callbacks.now - self._asked_at) * 1000.0)
            self.callbacks.info.set_metadata(NAMESPACE, {**verdict.metadata, "ext_authz_duration": took})
        if verdict.kind == "ok":
            self._pass(verdict)
        elif verdict.kind == "denied":
            self._deny(verdict)
        else:
            self._fail()

    def _count(self, name: str) -> None:
        self._factory.count_for_cluster(self.callbacks.cluster_name, name)

    def _pass(self, verdict: Verdict) -> None:
        factory = self._factory
        factory.ok.value += 1
        self._count("ok")
        self._verdict = verdict
        if verdict.changes_request:
            self._change(verdict)
            if factory.config.clear_route_cache:
                self.callbacks.clear_route_cache()
        self.callbacks.continue_decoding()

    def _change(self, verdict: Verdict) -> None:
        head = self._head
        for name, value in verdict.set:
            _set(head, name, value)
        head.headers.extend(verdict.append)
        for name, value in verdict.extend:
            before = head.get(name)
            if before is not None:
                set_header(head.headers, name, before + b"," + value)
        removed = [name for name in verdict.remove if name not in _UNTOUCHABLE and not name.startswith(b":")]
        if removed:
            head.headers[:] = [each for each in head.headers if each[0] not in removed]
        if verdict.query_set or verdict.query_remove:
            head.path = changed_query(head.path, verdict.query_set, verdict.query_remove)

    def _deny(self, verdict: Verdict) -> None:
        factory = self._factory
        factory.denied.value += 1
        self._count("denied")
        factory.charge(self.callbacks.cluster_name, verdict.status)
        headers: Headers = []
        for name, value in verdict.to_client:
            headers.append((name, value))
        reply = LocalReply(verdict.status, "ext_authz_denied", verdict.body, ("UAEX",), tuple(headers))
        self.callbacks.send_local_reply(reply)

    def _fail(self) -> None:
        factory, config = self._factory, self._factory.config
        factory.error.value += 1
        self._count("error")
        if config.allow_on_failure:
            factory.failure_mode_allowed.value += 1
            self._count("failure_mode_allowed")
            if config.tell_of_failure:
                set_header(self._head.headers, *_FAILURE_ALLOWED)
            self.callbacks.continue_decoding()
            return
        self.callbacks.send_local_reply(LocalReply(config.status_on_error, "ext_authz_error", b"", ("UAEX",)))

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> int:
        """Add what the service has for the client."""
        verdict = self._verdict
        if verdict is not None:
            head.headers.extend(verdict.client_add)
            for name, value in verdict.client_set:
                set_header(head.headers, name, value)
        return CONTINUE

    def on_destroy(self) -> None:
        """Nobody waits any more."""
        self._over = True
        if self._call is not None:
            self._call.cancel()


def _set(head: RequestHead, name: bytes, value: bytes) -> None:
    if name in (b"host", b":authority"):
        head.authority = value
    elif name == b":path":
        head.path = value
    elif name == b":method":
        head.method = value
    else:  # behind the others, as in Envoy
        head.headers[:] = [*(each for each in head.headers if each[0] != name), (name, value)]


def changed_query(path: bytes, wanted: Fields, removed: tuple[bytes, ...]) -> bytes:
    """``path`` with query parameters set and others taken away."""
    bare, _, query = path.partition(b"?")
    values: dict[bytes, bytes] = {}
    for each in query.split(b"&") if query else ():
        name, _, value = each.partition(b"=")
        values.setdefault(name, value)
    values |= dict(wanted)
    pairs = [name + b"=" + value for name, value in values.items() if name not in removed]
    return bare + b"?" + b"&".join(pairs) if pairs else bare


class Decided(Protocol):
    """Who waits for a verdict."""

    def __call__(self, verdict: Verdict, /) -> None:
        """The verdict is there."""


def _grpc_check(surroundings: Surroundings, server: GrpcServer, asked: Asked, decided: Decided) -> Cancellable:
    from isthmus_proxy.authz import grpc_check  # noqa: PLC0415 - loads messages that few configurations need
    from isthmus_proxy.grpc.call import CallOptions  # noqa: PLC0415 - as above
    from isthmus_proxy.grpc.client import GrpcClient  # noqa: PLC0415 - as above
    from isthmus_proxy.grpc.status import Outcome  # noqa: PLC0415 - as above

    def done(answer: bytes, outcome: Outcome) -> None:
        decided(FAILED if outcome.status else grpc_check.read_response(answer))

    options = CallOptions(timeout=server.timeout or None, authority=server.authority)
    message = grpc_check.check_request(asked)
    return GrpcClient(surroundings).unary(server.cluster, grpc_check.METHOD, message, done, options)
