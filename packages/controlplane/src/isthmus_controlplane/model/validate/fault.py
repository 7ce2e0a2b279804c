"""Rules of fault injection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.grpc_status import GRPC_STATUSES
from isthmus_controlplane.model.validate.text import check_duration, check_percent


def check_fault(fault: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with the ``fault`` of an HTTPRoute."""
    if not fault.HasField("delay") and not fault.HasField("abort"):
        yield FieldProblem(path, "is empty: give delay, abort or both")
    if fault.HasField("delay"):
        yield from _delay(fault.delay, f"{path}.delay")
    if fault.HasField("abort"):
        yield from _abort(fault.abort, f"{path}.abort")


def _delay(delay: Any, path: str) -> Iterator[FieldProblem]:
    if delay.WhichOneof("http_delay_type") is None:
        yield FieldProblem(path, "does not say how long: give fixedDelay")
    else:
        yield from check_duration(delay.fixed_delay, f"{path}.fixedDelay", zero=False)
    yield from check_percent(delay.percentage.value, f"{path}.percentage.value")


def _abort(abort: Any, path: str) -> Iterator[FieldProblem]:
    match abort.WhichOneof("error_type"):
        case "http_status" if not 200 <= abort.http_status <= 599:
            yield FieldProblem(f"{path}.httpStatus", f"{abort.http_status} is not a status: use 200 to 599")
        case "grpc_status" if abort.grpc_status not in GRPC_STATUSES:
            choices = ", ".join(GRPC_STATUSES)
            yield FieldProblem(f"{path}.grpcStatus", f"{shown(abort.grpc_status)} is not one of {choices}")
        case None:
            yield FieldProblem(path, "does not say with what: give httpStatus or grpcStatus")
    yield from check_percent(abort.percentage.value, f"{path}.percentage.value")
