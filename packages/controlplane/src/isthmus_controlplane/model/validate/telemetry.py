"""Rules of Telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown

ENVOY_PROVIDER = "envoy"


def validate_telemetry(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a Telemetry."""
    for index, logging in enumerate(spec.access_logging):
        for position, provider in enumerate(logging.providers):
            if provider.name != ENVOY_PROVIDER:
                path = f"spec.accessLogging[{index}].providers[{position}].name"
                message = (
                    f"{shown(provider.name)} is not known: the one provider is {ENVOY_PROVIDER!r}, standard output"
                )
                yield FieldProblem(path, message)
