"""Rules of EnvoyFilter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_api.istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from isthmus_controlplane.model.fields import FieldProblem
from isthmus_controlplane.model.patch_value import MESSAGES, PatchValueError, patch_value

_Op = EnvoyFilter.Patch
_INSERTS = frozenset({_Op.INSERT_BEFORE, _Op.INSERT_AFTER, _Op.INSERT_FIRST})
_ANYWHERE = frozenset({_Op.MERGE, _Op.ADD, _Op.REMOVE})
_ORDERED = _ANYWHERE | _INSERTS
_OPERATIONS = {
    EnvoyFilter.LISTENER: _ANYWHERE,
    EnvoyFilter.FILTER_CHAIN: _ANYWHERE,
    EnvoyFilter.NETWORK_FILTER: _ORDERED | {_Op.REPLACE},
    EnvoyFilter.HTTP_FILTER: _ORDERED | {_Op.REPLACE},
    EnvoyFilter.ROUTE_CONFIGURATION: frozenset({_Op.MERGE}),
    EnvoyFilter.VIRTUAL_HOST: _ANYWHERE,
    EnvoyFilter.HTTP_ROUTE: _ORDERED,
    EnvoyFilter.CLUSTER: _ANYWHERE,
}
_OF_LISTENERS = frozenset({
    EnvoyFilter.LISTENER, EnvoyFilter.FILTER_CHAIN, EnvoyFilter.NETWORK_FILTER, EnvoyFilter.HTTP_FILTER,
})  # fmt: skip
_NAMED = {
    EnvoyFilter.LISTENER: "name", EnvoyFilter.NETWORK_FILTER: "name", EnvoyFilter.HTTP_FILTER: "name",
    EnvoyFilter.VIRTUAL_HOST: "name", EnvoyFilter.CLUSTER: "name",
}  # fmt: skip


def validate_envoy_filter(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with an EnvoyFilter."""
    if spec.HasField("workload_selector") and not spec.workload_selector.labels:
        yield FieldProblem("spec.workloadSelector.labels", "is empty: give labels, or leave the selector out")
    for index, patch in enumerate(spec.config_patches):
        yield from _patch(patch, f"spec.configPatches[{index}]")


def _patch(patch: Any, path: str) -> Iterator[FieldProblem]:
    apply_to, operation = patch.apply_to, patch.patch.operation
    if operation not in _OPERATIONS[apply_to]:
        choices = ", ".join(sorted(map(_Op.Operation.Name, _OPERATIONS[apply_to])))
        name = EnvoyFilter.ApplyTo.Name(apply_to)
        yield FieldProblem(
            f"{path}.patch.operation", f"{_Op.Operation.Name(operation)} is not for {name}: use {choices}"
        )
    yield from _match(patch, path)
    if operation == _Op.REMOVE:
        return
    if not patch.patch.HasField("value"):
        yield FieldProblem(f"{path}.patch.value", "is missing: give what is merged or added")
        return
    try:
        value = patch_value(apply_to, patch.patch.value)
    except PatchValueError as error:
        kind = MESSAGES[apply_to].DESCRIPTOR.full_name
        yield FieldProblem(f"{path}.patch.value", f"is not a {kind}: {error}")
        return
    if operation != _Op.MERGE and apply_to in _NAMED and not value.name:
        yield FieldProblem(f"{path}.patch.value.name", "is missing: what is added needs a name")


def _match(patch: Any, path: str) -> Iterator[FieldProblem]:
    chosen = patch.match.WhichOneof("object_types")
    wanted = "listener" if patch.apply_to in _OF_LISTENERS else "route_configuration"
    wanted = "cluster" if patch.apply_to == EnvoyFilter.CLUSTER else wanted
    if chosen not in {None, wanted}:
        json_name = patch.match.DESCRIPTOR.fields_by_name[chosen].json_name
        yield FieldProblem(
            f"{path}.match.{json_name}", f"says nothing of {EnvoyFilter.ApplyTo.Name(patch.apply_to)}: remove it"
        )
    where = patch.match.listener.filter_chain.filter
    relative = patch.patch.operation in {_Op.INSERT_BEFORE, _Op.INSERT_AFTER}
    if relative and patch.apply_to == EnvoyFilter.NETWORK_FILTER and not where.name:
        yield FieldProblem(f"{path}.match.listener.filterChain.filter.name", "is missing: say beside which filter")
    if relative and patch.apply_to == EnvoyFilter.HTTP_FILTER and not where.sub_filter.name:
        yield FieldProblem(
            f"{path}.match.listener.filterChain.filter.subFilter.name", "is missing: say beside which filter"
        )
    if relative and patch.apply_to == EnvoyFilter.HTTP_ROUTE and not patch.match.route_configuration.vhost.route.name:
        yield FieldProblem(f"{path}.match.routeConfiguration.vhost.route.name", "is missing: say beside which route")
