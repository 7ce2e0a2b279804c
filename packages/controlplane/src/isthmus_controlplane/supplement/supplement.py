"""What is added to the translation of each scope. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.message import Message

from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.resource import message_of
from isthmus_controlplane.snapshot.resource_type import SECRET, resource_type
from isthmus_controlplane.stores.base import ObjectKey, Problem
from isthmus_controlplane.supplement.resource_files import Given
from isthmus_controlplane.supplement.secret_names import SecretNames
from isthmus_controlplane.translate.translation import Translation


@dataclasses.dataclass(frozen=True, slots=True)
class Supplement:
    """Resources from files, and secrets.

    Attributes:
        resources: written by hand.
        secrets: by name. A scope is given those that its own resources name, and no other.
        problems: what was refused.
    """

    resources: tuple[Given, ...] = ()
    secrets: Mapping[str, Message] = dataclasses.field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()

    def join(self, translation: Translation, scope: Scope, secret_names: SecretNames) -> Translation:
        """Return a translation with what is for its scope. What was translated goes before what was written by hand."""
        if not self.resources and not self.secrets:
            return translation
        tables = {type_url: dict(table) for type_url, table in translation.messages.items()}
        origins = dict(translation.origins)
        problems = list(translation.problems)
        for given in self.resources:
            if given.nodes.matches(scope):
                table = tables.setdefault(given.type_url, {})
                if given.name in table:
                    problems.append(_taken(given, origins[given.type_url, given.name]))
                else:
                    table[given.name] = given.message
                    origins[given.type_url, given.name] = (given.key,)
        secrets = self._named(tables, secret_names)
        if secrets:
            tables[SECRET] = secrets
        return Translation(
            MappingProxyType({url: MappingProxyType(dict(sorted(table.items()))) for url, table in tables.items()}),
            MappingProxyType(origins),
            tuple(sorted(set(problems))),
            translation.imported,
        )

    def _named(self, tables: Mapping[str, Mapping[str, Message]], secret_names: SecretNames) -> dict[str, Message]:
        if not self.secrets:
            return {}
        names = {
            name
            for table in tables.values()
            for message in table.values()
            for name in secret_names.of(message_of(message))
        }
        return {name: self.secrets[name] for name in names if name in self.secrets}


def _taken(given: Given, others: tuple[ObjectKey, ...]) -> Problem:
    made = f", made from {', '.join(map(str, others))}" if others else ""
    text = f"there is a {resource_type(given.type_url).short} {given.name!r} already{made}: choose another name"
    return Problem(str(given.key), "name", text)


NOTHING = Supplement()
