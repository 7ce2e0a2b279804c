"""The admin view of all workers as one: asks each and adds up, or passes the question or the order on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from isthmus_proxy.admin import stats_endpoint
from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.response import JSON, AdminRequest, AdminResponse, text
from isthmus_proxy.observe.stats_settings import NO_SETTINGS, StatsSettings
from isthmus_proxy.workers.cluster_merge import merge_json, merge_text
from isthmus_proxy.workers.stats_merge import merge
from isthmus_proxy.workers.worker import NoAnswerError, Worker

_ORDERS = frozenset(
    (
        "/drain_listeners",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/logging",
        "/reopen_logs",
        "/reset_counters",
        "/runtime_modify",
    )
)


class Workers(Protocol):
    """Who knows the workers (the supervisor)."""

    @property
    def wanted(self) -> int:
        """How many there should be."""

    @property
    def draining(self) -> bool:
        """Whether they are told to end."""

    def serving(self) -> list[Worker]:
        """Those that run."""

    def quit(self) -> None:
        """End all at once."""


class WorkersAdmin:
    """``answer`` is what the admin server calls."""

    def __init__(self, workers: Workers, settings: StatsSettings = NO_SETTINGS) -> None:
        self._settings = settings
        self._workers = workers
        self._own: dict[str, Callable[[AdminRequest], Awaitable[AdminResponse]]] = {
            "/ready": self._ready,
            "/stats": self._stats,
            "/stats/prometheus": self._stats,
            "/clusters": self._clusters,
        }

    async def answer(self, request: AdminRequest) -> AdminResponse:
        """The answer to one request."""
        if request.path == "/quitquitquit" and request.method == "POST":
            self._workers.quit()
            return text("OK\n")
        own = self._own.get(request.path)
        if own is not None:
            return await own(request)
        if request.path in _ORDERS:
            return await self._order(request)
        for worker in self._workers.serving():
            try:
                return _response(await worker.ask(_question(request)))
            except NoAnswerError:
                continue
        return _nobody()

    async def _ask_all(self, question: dict[str, object]) -> list[dict[str, Any]]:
        """The answers of the workers that give one."""
        answers: dict[int, dict[str, Any]] = {}

        async def ask(worker: Worker) -> None:
            try:
                answers[worker.slot] = await worker.ask(question)
            except NoAnswerError:
                return

        async with trio.open_nursery() as nursery:
            for worker in self._workers.serving():
                nursery.start_soon(ask, worker)
        return [answers[slot] for slot in sorted(answers)]

    async def _ready(self, request: AdminRequest) -> AdminResponse:
        answers = await self._ask_all(_question(request))
        for answer in answers:
            if answer["status"] != 200:
                return _response(answer)
        if self._workers.draining:
            return text("DRAINING\n", 503)
        if len(answers) < self._workers.wanted:
            return text("INITIALIZING\n", 503)
        return _response(answers[0])

    async def _stats(self, request: AdminRequest) -> AdminResponse:
        answers = await self._ask_all({"op": "stats"})
        store = merge((answer["stats"] for answer in answers), self._settings)
        store.scope("server").gauge("concurrency").value = self._workers.wanted
        store.scope("server").gauge("live").value = int(len(answers) == self._workers.wanted)
        return Dispatcher(stats_endpoint.endpoints(store, lambda: None)).respond(request)

    async def _clusters(self, request: AdminRequest) -> AdminResponse:
        answers = await self._ask_all(_question(request))
        if not answers or answers[0]["status"] != 200:
            return _response(answers[0]) if answers else _nobody()
        bodies = [answer["body"] for answer in answers]
        if answers[0]["content_type"] == JSON:
            return AdminResponse(200, (merge_json(bodies),), JSON)
        return text(merge_text(bodies))

    async def _order(self, request: AdminRequest) -> AdminResponse:
        answers = await self._ask_all(_question(request))
        for answer in answers:
            if answer["status"] != 200:
                return _response(answer)
        return _response(answers[0]) if answers else _nobody()


def _question(request: AdminRequest) -> dict[str, object]:
    return {"op": "admin", "method": request.method, "path": request.path, "query": dict(request.query)}


def _response(answer: dict[str, Any]) -> AdminResponse:
    return AdminResponse(answer["status"], (answer["body"],), answer["content_type"])


def _nobody() -> AdminResponse:
    return text("no worker answers; they are being started, or see the log\n", 503)
