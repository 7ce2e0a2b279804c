"""Rules of Telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.text import check_header_name

ENVOY_PROVIDER = "envoy"


_WHOLE = 100


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
    for index, tracing in enumerate(spec.tracing):
        yield from _tracing(tracing, f"spec.tracing[{index}]")


def _tracing(tracing: Any, path: str) -> Iterator[FieldProblem]:
    if len(tracing.providers) > 1:
        yield FieldProblem(f"{path}.providers", f"has {len(tracing.providers)} providers: spans go to one")
    for position, provider in enumerate(tracing.providers):
        if not provider.name:
            yield FieldProblem(f"{path}.providers[{position}].name", "is empty: give the name of a provider")
    sampling = tracing.random_sampling_percentage.value
    if not 0 <= sampling <= _WHOLE:
        yield FieldProblem(f"{path}.randomSamplingPercentage", f"{sampling} is not a percentage: use 0 to {_WHOLE}")
    for name, tag in sorted(tracing.custom_tags.items()):
        below = f"{path}.customTags.{name}"
        match tag.WhichOneof("type"):
            case "literal" if tag.literal.value:
                pass
            case "environment" if tag.environment.name:
                pass
            case "header":
                yield from check_header_name(tag.header.name, f"{below}.header.name")
            case "formatter":
                yield FieldProblem(f"{below}.formatter", "is not supported: use literal, environment or header")
            case _:
                yield FieldProblem(
                    below, "says nothing: give a literal with a value, an environment or a header with a name"
                )
