"""Makes labels that Istio accepts out of whatever a registry calls metadata.

Istio rejects a whole ServiceEntry for one bad label, so each is mended on its own: a character that is not allowed
becomes ``-``, characters that may not stand at an end are cut off there, 63 characters are kept, and what is empty after
that is dropped. What a label was before is kept beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from isthmus_mcp_bridge.model import Labels

MAX_LENGTH = 63
MAX_RAW = 500
"""Characters of a raw label that are kept."""
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.-]")
_ENDS = "-_."


def sanitise(text: str) -> str:
    """The text as a label value, or as a label key without prefix; may be empty."""
    return _FORBIDDEN.sub("-", text).lstrip(_ENDS)[:MAX_LENGTH].rstrip(_ENDS)


def sanitise_labels(pairs: Iterable[tuple[str, str]]) -> Labels:
    """The pairs as sorted labels; of two keys that become the same, the first one (sorted by raw key) stays."""
    return mended_labels(pairs)[0]


def mended_labels(pairs: Iterable[tuple[str, str]]) -> tuple[Labels, Labels]:
    """The labels, and of those that had to be mended: ``key=value`` as it is now and as it was."""
    labels: dict[str, str] = {}
    raw: dict[str, str] = {}
    for raw_key, raw_value in sorted(pairs):
        key, value = sanitise(raw_key), sanitise(raw_value)
        if key and value and key not in labels:
            labels[key] = value
            if (key, value) != (raw_key, raw_value):
                raw[f"{key}={value}"] = f"{raw_key}={raw_value}"[:MAX_RAW]
    return tuple(sorted(labels.items())), tuple(sorted(raw.items()))
