"""What the application of a sidecar has published and subscribed. Pure: whoever publishes further is told of changes."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_proxy.registry_api.model import Publication

MAX_PUBLICATIONS = 2000
MAX_SUBSCRIPTIONS = 10_000


class RegistryFull(Exception):  # noqa: N818 - a limit of ours, told to the SDK
    """One more is more than there is room for."""


class ApplicationRegistry:
    """See the module. ``changed`` is called whenever ``published`` or ``alive`` may differ from before.

    ``application`` is what the SDK said of itself; ``alive``: what is published is of use only while the application lives.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.changed = changed
        self._publications: dict[tuple[str, str, str, str], Publication] = {}
        self.subscriptions: set[tuple[str, str]] = set()
        self.application: dict[str, str] = {}
        self.alive = True

    @property
    def published(self) -> tuple[Publication, ...]:
        """What the application has published, whether it lives or not."""
        return tuple(self._publications.values())

    def find(self, service: str) -> Publication | None:
        """A publication of ``service``."""
        return next((each for each in self._publications.values() if each.service == service), None)

    def publish(self, publication: Publication) -> None:
        """Take a publication, in place of an earlier one of the same key. Raises RegistryFull."""
        known = self._publications.get(publication.key)
        if known == publication:
            return
        if known is None and len(self._publications) >= MAX_PUBLICATIONS:
            raise RegistryFull(f"an application may publish {MAX_PUBLICATIONS} services")
        self._publications[publication.key] = publication
        self.changed()

    def unpublish(self, key: tuple[str, str, str, str]) -> bool:
        """Withdraw a publication; whether there was one."""
        if self._publications.pop(key, None) is None:
            return False
        self.changed()
        return True

    def subscribe(self, service: str, group: str) -> None:
        """Note that the application wants ``service``. Raises RegistryFull."""
        if len(self.subscriptions) >= MAX_SUBSCRIPTIONS and (service, group) not in self.subscriptions:
            raise RegistryFull(f"an application may subscribe to {MAX_SUBSCRIPTIONS} services")
        self.subscriptions.add((service, group))

    def unsubscribe(self, service: str, group: str) -> None:
        """The application wants it no more."""
        self.subscriptions.discard((service, group))

    def set_alive(self, alive: bool) -> None:
        """The application lives, or does not."""
        if alive != self.alive:
            self.alive = alive
            self.changed()
