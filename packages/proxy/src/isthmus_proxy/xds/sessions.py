"""The sessions of all streams, without I/O: the aggregated one, and one for each type and source that has a stream of its own."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

from isthmus_proxy.xds.resources import Apply, Rejected, Stored
from isthmus_proxy.xds.session import Session, Variant
from isthmus_proxy.xds.source import ApiSource

Own = tuple[str, ApiSource]
"""Type and source of a stream that carries one type."""


class Sessions:
    """See the module. A source of None is the aggregated stream, whose session is ``main``."""

    def __init__(self, main: Session) -> None:
        self.main = main
        self._own: dict[Own, Session] = {}
        self._applies: dict[str, Apply] = {}

    @property
    def own(self) -> Mapping[Own, Session]:
        """Those of streams that carry one type; they come and go with what is needed."""
        return self._own

    def add_type(self, type_url: str, apply: Apply) -> None:
        """Know a type, whichever stream it comes by."""
        self._applies[type_url] = apply
        self.main.add_type(type_url, apply)

    def find(self, type_url: str, source: ApiSource | None) -> Session | None:
        """The session by which a type comes from ``source``, if anything was asked for there."""
        return self.main if source is None else self._own.get((type_url, source))

    def of(self, type_url: str, source: ApiSource | None) -> Session:
        """The same; made for the first who wants it."""
        session = self.find(type_url, source)
        if session is None and source is not None:
            variant: Variant = "delta" if source.delta else "sotw"
            session = self.main.sibling(variant, node_in_all=not source.set_node_on_first_message_only)
            session.add_type(type_url, self._applies[type_url])
            self._own[type_url, source] = session
        return session or self.main

    def subscribe(self, type_url: str, wanted: Mapping[str, ApiSource | None]) -> None:
        """Want exactly ``wanted``, each name from its source. A session of whose type nothing is wanted any more goes."""
        names: dict[ApiSource | None, set[str]] = {None: set()}
        for name, source in wanted.items():
            names.setdefault(source, set()).add(name)
        for own in [own for own in self._own if own[0] == type_url and own[1] not in names]:
            del self._own[own]
        for source, found in names.items():
            self.of(type_url, source).subscribe(type_url, frozenset(found))

    def accepted(self, type_url: str) -> Mapping[str, Stored]:
        """Accepted resources of a type by name."""
        own = [dict(session.accepted(type_url)) for session in self._of_type(type_url)]
        main = self.main.accepted(type_url)
        return ChainMap(*own, dict(main)) if own else main

    def rejected(self, type_url: str) -> Mapping[str, Rejected]:
        """Refused resources of a type by name."""
        own = [dict(session.rejected(type_url)) for session in self._of_type(type_url)]
        main = self.main.rejected(type_url)
        return ChainMap(*own, dict(main)) if own else main

    def version(self, type_url: str) -> str:
        """Version of the last response of a type that was taken in full; of several streams, of the first that has one."""
        versions = (session.version(type_url) for session in (self.main, *self._of_type(type_url)))
        return next((version for version in versions if version), "")

    def _of_type(self, type_url: str) -> list[Session]:
        return [session for (own_type, _), session in self._own.items() if own_type == type_url]
