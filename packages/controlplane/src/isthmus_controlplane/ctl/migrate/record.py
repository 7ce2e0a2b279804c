"""A migration's state as an annotation of its DualMode, so that whoever looks from elsewhere knows. Pure."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

from isthmus_controlplane.ctl.migrate.plan import Plan
from isthmus_controlplane.errors import ConfigError

ANNOTATION = "isthmus.io/migration"
LEASE_S = 60.0
"""A running migration that was not heard of for so long is taken for dead."""
HEARTBEAT_S = 15.0

Status = Literal["running", "completed", "gone-back", "interrupted"]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What is written down of a migration.

    Attributes:
        id: tells migrations apart.
        status: ``gone-back`` is after a breach and the like, ``interrupted`` stands where it was.
        plan: what it is to do.
        consumers: sides of the policy that are walked.
        starts: share of each side at the beginning, in per cent.
        percent: the share reached, or being gone to.
        phase: what it does.
        owner: who runs it, for people.
        heard_at: when it was last heard of, in seconds of the epoch.
        started_at: when it began, in seconds of the epoch.
        message: the outcome, or why it stands.
    """

    id: str
    status: Status
    plan: Plan
    consumers: tuple[str, ...]
    starts: dict[str, float]
    percent: float
    phase: str
    owner: str
    heard_at: float
    started_at: float
    message: str = ""

    def is_alive(self, now: float) -> bool:
        """Whether somebody runs it."""
        return self.status == "running" and now - self.heard_at < LEASE_S

    def shares(self, percent: float) -> dict[str, float]:
        """The share of each side when the migration is at ``percent``: a side that is further already stays."""
        if percent == self.plan.start:
            return dict(self.starts)
        further = max if self.plan.to == "mesh" else min
        return {side: further(start, percent) for side, start in self.starts.items()}


def to_text(record: Record) -> str:
    """The value of the annotation."""
    return json.dumps(dataclasses.asdict(record), separators=(",", ":"), sort_keys=True)


def read_record(document: dict[str, Any]) -> Record | None:
    """The record in a DualMode; None without one.

    Raises:
        ConfigError: the annotation cannot be read.
    """
    text = (document["metadata"].get("annotations") or {}).get(ANNOTATION)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        plan = Plan(**fields.pop("plan"))
        consumers = tuple(fields.pop("consumers"))
        return Record(plan=plan, consumers=consumers, **fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        name = document["metadata"]["name"]
        raise ConfigError(
            f"DualMode {name}: metadata.annotations[{ANNOTATION}]: cannot be read: {error}; remove it if no migration runs"
        ) from error


def with_record(document: dict[str, Any], record: Record) -> dict[str, Any]:
    """The document with the record."""
    metadata = dict(document["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: to_text(record)}
    return {**document, "metadata": metadata}
