"""The DualMode of one migration: every write is made of what is held now, and only while the migration is still ours."""

from __future__ import annotations

import dataclasses

from isthmus_controlplane.ctl.client import ApiError
from isthmus_controlplane.ctl.migrate.policy import Document, share_of, with_shares
from isthmus_controlplane.ctl.migrate.record import Record, read_record, with_record
from isthmus_controlplane.ctl.migrate.remote import Clock, Mesh, Patience, is_conflict
from isthmus_controlplane.errors import ControlPlaneError

MAX_CONFLICTS = 10


class TakenOverError(ControlPlaneError):
    """Somebody else has changed what is walked."""


class Ledger:
    """Keeps share and record of a migration in its DualMode.

    Attributes:
        record: as it was written last.
        version: of the object, as it was written last.
    """

    def __init__(self, mesh: Mesh, clock: Clock, patience: Patience, document: Document, record: Record) -> None:
        """Prepare.

        Args:
            mesh: where it is kept.
            clock: time.
            patience: puts up with outages.
            document: the DualMode as it was read, or a new one without a version.
            record: what is to be written first.
        """
        self._mesh = mesh
        self._clock = clock
        self._patience = patience
        self._held = document
        self._known = {side: share_of(document, side) for side in record.consumers}
        self.record = record
        self.version = ""

    @property
    def policy(self) -> str:
        """The object as ``namespace/name``."""
        metadata = self._held["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"

    def claim(self, percent: float) -> None:
        """Write the record and the first share: whoever began a moment earlier has changed the object.

        Raises:
            TakenOverError: somebody did.
            ApiError: it is refused.
            UnreachableError: nobody answers.
        """
        try:
            self._write(self._held, percent, self.record)
        except ApiError as error:
            if is_conflict(error):
                raise TakenOverError(
                    f"{self.policy} was changed just now: {error}; look at `migrate status`"
                ) from error
            raise

    def save(self, percent: float, record: Record) -> None:
        """Write share and record.

        Raises:
            TakenOverError: the share or the record is not as it was written last.
            ApiError: it is refused.
            UnreachableError: nobody answers.
        """
        for _ in range(MAX_CONFLICTS):
            held = self._read()
            try:
                self._write(held, percent, record)
            except ApiError as error:
                if not is_conflict(error):
                    raise
            else:
                return
        raise TakenOverError(f"{self.policy} is changed all the time by somebody else")

    def _write(self, document: Document, percent: float, record: Record) -> None:
        record = dataclasses.replace(record, percent=percent, heard_at=self._clock.epoch())
        shares = record.shares(percent)
        changed = with_record(with_shares(document, shares), record)
        self.version = self._patience(lambda: self._mesh.write(changed))
        self.record = record
        self._known = shares

    def _read(self) -> Document:
        """The object as it is held now.

        Raises:
            TakenOverError: it is not what was written last, but for the parts that a migration leaves alone.
        """
        held = self._held["metadata"]
        documents = self._patience(self._mesh.policies)
        found = next((each for each in documents if _key(each) == (held["namespace"], held["name"])), None)
        if found is None:
            raise TakenOverError(f"{self.policy} was deleted")
        record = read_record(found)
        if record is None or record.id != self.record.id:
            raise TakenOverError(f"{self.policy} has {_other(record)}")
        shares = {side: share_of(found, side) for side in self.record.consumers}
        if shares != self._known:
            raise TakenOverError(f"somebody set the shares of {self.policy} to {shares}; they were {self._known}")
        return found


def _key(document: Document) -> tuple[str, str]:
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _other(record: Record | None) -> str:
    return "lost its record of this migration" if record is None else f"another migration, of {record.owner}"
