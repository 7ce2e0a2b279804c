"""What a migration asks of the control planes and the bridge, and how long it puts up with their absence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from isthmus_controlplane.ctl.client import ApiError, Client, UnreachableError
from isthmus_controlplane.ctl.migrate.bridge_page import waiting_for
from isthmus_controlplane.ctl.migrate.policy import KIND, Document

T = TypeVar("T")

WAIT_S = 1.0
PAUSE_S = 0.5
MAX_PAUSE_S = 5.0
_UNAVAILABLE, _CONFLICT = 503, 409


class Clock(Protocol):
    """Time, and waiting."""

    def now(self) -> float:
        """Seconds of a clock that does not go back."""
        ...

    def epoch(self) -> float:
        """Seconds of the epoch."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Mesh(Protocol):
    """The outside world of a migration. Every method may raise UnreachableError and ApiError."""

    def policies(self) -> list[Document]:
        """All DualModes, each with its ``metadata.resourceVersion``."""
        ...

    def write(self, document: Document) -> str:
        """Write a DualMode, if it is still as it was read; returns its version, or raises ApiError with status 409."""
        ...

    def check(self, document: Document) -> list[dict[str, str]]:
        """What a write would be refused for."""
        ...

    def waiting(self, policy: str, version: str, shares: dict[str, float], *, drained: bool) -> str:
        """Who has not applied this version of a policy, or (``drained``) still shows what was before; empty when nobody."""
        ...

    def page(self) -> Any | None:
        """The bridge's page on dual mode for the service; None where no bridge was named."""
        ...

    def loads(self, seconds: float) -> tuple[Any, list[dict[str, Any]]]:
        """The settings of load reports, and what was reported of the service's endpoints over the last ``seconds``."""
        ...


class RemoteMesh:
    """`Mesh` over HTTP."""

    def __init__(self, host: str, client: Client, others: Sequence[Client] = (), bridge: Client | None = None) -> None:
        """Prepare.

        Args:
            host: the service.
            client: the control plane that is written to.
            others: control planes whose load reports count too.
            bridge: administration endpoint of a bridge.
        """
        self._host = host
        self._client = client
        self._others = others
        self._bridge = bridge

    def policies(self) -> list[Document]:
        """See `Mesh`."""
        return [item["object"] for item in self._client.get("/v1/objects", kind=KIND)["items"]]

    def write(self, document: Document) -> str:
        """See `Mesh`."""
        (applied,) = self._client.apply({"migrate": json.dumps(document)})["applied"]
        return str(applied["version"])

    def check(self, document: Document) -> list[dict[str, str]]:
        """See `Mesh`."""
        problems: list[dict[str, str]] = self._client.analyze({"migrate": json.dumps(document)})["problems"]
        return problems

    def waiting(self, policy: str, version: str, shares: dict[str, float], *, drained: bool) -> str:
        """See `Mesh`. The bridge is asked first: what it shows has to reach the clients of the control plane."""
        page = self.page()
        late = waiting_for(page, policy, version, shares, drained=drained) if page is not None else ""
        if late:
            return late
        answer = self._client.wait(WAIT_S)
        if answer["rejections"]:
            first = answer["rejections"][0]
            return f"{first['client']} rejects {first['type']}: {first['message']}"
        if answer["waiting_for"]:
            return ", ".join(answer["waiting_for"])
        return "" if answer["applied"] else "the control plane has not published it"

    def page(self) -> Any | None:
        """See `Mesh`."""
        return None if self._bridge is None else self._bridge.get("/dualmode", host=self._host)

    def loads(self, seconds: float) -> tuple[Any, list[dict[str, Any]]]:
        """See `Mesh`."""
        answers = [
            each.get("/debug/loads", host=self._host, seconds=f"{seconds:.3f}")
            for each in (self._client, *self._others)
        ]
        settings = {
            "interval_s": max(each["interval_s"] for each in answers),
            "window_s": min(each["window_s"] for each in answers),
            "reporters": sum(each["reporters"] for each in answers),
        }
        return settings, [row for each in answers for row in each["endpoints"]]


class Patience:
    """Repeats what fails since nobody answers, within a deadline."""

    def __init__(self, seconds: float, clock: Clock, tell: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            seconds: how long an outage may last.
            clock: time.
            tell: told once an outage.
        """
        self._seconds = seconds
        self._clock = clock
        self._tell = tell

    def __call__(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer.

        Raises:
            UnreachableError: there was none for too long.
            ApiError: the answer is a refusal.
        """
        deadline = self._clock.now() + self._seconds
        pause, told = PAUSE_S, False
        while True:
            try:
                return ask()
            except (UnreachableError, ApiError) as error:
                if not is_outage(error) or self._clock.now() >= deadline:
                    raise
                if not told:
                    told = True
                    self._tell(f"{error}; trying again for {self._seconds:g} s")
            self._clock.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_S)


def is_outage(error: Exception) -> bool:
    """Whether trying again may help."""
    return isinstance(error, UnreachableError) or (isinstance(error, ApiError) and error.status == _UNAVAILABLE)


def is_conflict(error: ApiError) -> bool:
    """Whether the object has changed since it was read."""
    return error.status == _CONFLICT
