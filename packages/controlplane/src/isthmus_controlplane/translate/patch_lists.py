"""Operations of an EnvoyFilter on lists: filter chains, filters, virtual hosts, routes, clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus_api.istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from isthmus_controlplane.translate.merge import merge

Op = EnvoyFilter.Patch


def patch_list(
    items: Any, operation: int, value: Any, matches: Callable[[Any], bool], *, keep_last: bool = False
) -> bool:
    """Change a repeated field in place; says whether anything changed.

    Args:
        items: the field.
        operation: of the patch.
        value: a message; None for REMOVE.
        matches: which items are meant.
        keep_last: what is added goes before the last item, which ends the chain.
    """
    before = list(items)
    after = _patched(before, operation, value, matches, keep_last=keep_last)
    if after is before:
        return False
    del items[:]
    items.extend(after)
    return True


def _patched(
    before: list[Any], operation: int, value: Any, matches: Callable[[Any], bool], *, keep_last: bool
) -> list[Any]:
    if operation == Op.ADD:
        at = len(before) - 1 if keep_last and before else len(before)
        return [*before[:at], value, *before[at:]]
    if operation == Op.INSERT_FIRST:
        return [value, *before]
    found = [index for index, item in enumerate(before) if matches(item)]
    if not found:
        return before
    if operation in {Op.INSERT_BEFORE, Op.INSERT_AFTER}:
        at = found[0] + (operation == Op.INSERT_AFTER)
        return [*before[:at], value, *before[at:]]
    if operation == Op.REMOVE:
        return [item for index, item in enumerate(before) if index not in found]
    if operation == Op.REPLACE:
        return [value if index in found else item for index, item in enumerate(before)]
    return [_merged(item, value) if index in found else item for index, item in enumerate(before)]


def _merged(item: Any, value: Any) -> Any:
    copy = type(item)()
    copy.CopyFrom(item)
    merge(copy, value)
    return copy
