"""How the table of supported fields is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MessageRules:
    """What may be set in one message type. A field that is named nowhere is refused when it is set."""

    supported: frozenset[str]
    only: Mapping[str, tuple[object, ...]]  # supported with these values alone
    no_effect: Mapping[str, str]  # accepted and not used, with the reason why that changes nothing
    elsewhere: frozenset[str]  # supported, and checked where it is compiled

    def names(self) -> set[str]:
        """All fields that are named."""
        return {*self.supported, *self.only, *self.no_effect, *self.elsewhere}


def message(
    supported: str = "",
    *,
    only: Mapping[str, object] | None = None,
    no_effect: Mapping[str, str] | None = None,
    elsewhere: str = "",
) -> MessageRules:
    """Write one row: names separated by blanks; ``no_effect`` maps the reason to the names that it covers."""
    return MessageRules(
        frozenset(supported.split()),
        {name: each if isinstance(each, tuple) else (each,) for name, each in (only or {}).items()},
        {name: reason for reason, names in (no_effect or {}).items() for name in names.split()},
        frozenset(elsewhere.split()),
    )
