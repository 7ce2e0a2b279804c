"""What the control plane says about its pushes: how long each took until every client acknowledged it."""

from dataclasses import dataclass
from typing import Any

from harness.eventually import eventually
from harness.isthmus import ControlPlane


@dataclass(frozen=True, slots=True)
class Push:
    """One push of new configuration to the clients it concerns."""

    id: int
    cause: str
    touched: int
    acknowledged: int
    rejected: int
    converged_after: float | None
    """Seconds until the last client answered; None while one has not."""

    @property
    def reached_somebody(self) -> bool:
        return self.touched > 0


def recent(control_plane: ControlPlane) -> list[Push]:
    """The latest pushes, oldest first."""
    answer: Any = control_plane.admin("/debug/pushes").json()
    fields = Push.__dataclass_fields__
    return [Push(**{name: entry[name] for name in fields}) for entry in answer["pushes"]]


def newest(control_plane: ControlPlane) -> int:
    """The id of the newest push, 0 when there was none."""
    return max((push.id for push in recent(control_plane)), default=0)


def wait_converged(control_plane: ControlPlane, after: int, *, within: float | None = None) -> list[Push]:
    """Wait until a push younger than ``after`` reached clients and all such pushes are answered; return them.

    Raises AssertionError when a client rejected one, or at the deadline.
    """
    pushes = eventually(lambda: _converged(control_plane, after), within=within, what="all pushes acknowledged")
    rejected = [push for push in pushes if push.rejected]
    if rejected:
        raise AssertionError(f"a client rejected {rejected}; isthmusctl status shows its reason")
    return pushes


def _converged(control_plane: ControlPlane, after: int) -> list[Push] | None:
    younger = [push for push in recent(control_plane) if push.id > after]
    if any(push.converged_after is None for push in younger):
        return None
    return [push for push in younger if push.reached_somebody] or None
