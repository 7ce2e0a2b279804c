"""Which content coding a client wants (Accept-Encoding, RFC 9110, 12.5.3), as Envoy's compressor reads it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

IDENTITY, WILDCARD = "identity", "*"
USED, NOT_VALID, FOUND_IDENTITY, FOUND_WILDCARD = "used", "not_valid", "identity", "wildcard"
"""How a decision came about."""


def choose(header: bytes, allowed: Sequence[str], first: Collection[str] = ()) -> tuple[str, str]:
    """(coding, how) for a header: the coding of the highest weight among ``allowed``, which are in the order of their filters.

    Of equal weights the client's first counts, but those in ``first`` (choose_first) before it.
    """
    pairs = _pairs(header)
    if pairs is None:
        return IDENTITY, NOT_VALID
    refused = {name for name, q in pairs if q <= 0}
    allowed = [name for name in allowed if name not in refused]
    best, weight = IDENTITY, 0.0
    found = False
    for name, q in pairs:
        known = name in allowed or name in (IDENTITY, WILDCARD)
        if known and (q > weight or (q == weight and found and name in first and best not in first)):
            best, weight, found = name, q, True
    if not found:
        return IDENTITY, NOT_VALID
    if best == WILDCARD:
        return (allowed[0], FOUND_WILDCARD) if allowed else (IDENTITY, NOT_VALID)
    return best, FOUND_IDENTITY if best == IDENTITY else USED


def _pairs(header: bytes) -> list[tuple[str, float]] | None:
    """Codings with their weights, None if a weight cannot be read."""
    pairs = []
    for item in header.decode("latin-1").split(","):
        name, semicolon, parameters = item.partition(";")
        if not name.strip():
            continue
        q = 1.0
        if semicolon:
            try:
                q = float(parameters.partition("=")[2].strip())
            except ValueError:
                return None
        pairs.append((name.strip(), q))
    return pairs
