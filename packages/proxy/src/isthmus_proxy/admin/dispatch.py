"""From an admin request to its endpoint: unknown paths, methods and the index; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus_proxy.admin.response import HTML, AdminRequest, AdminResponse, Endpoint, text


class Dispatcher:
    """Knows all endpoints and answers for what is none. ``/`` and ``/help`` are its own."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        own = (
            Endpoint("/", "Admin home page", self._index),
            Endpoint("/help", "print out list of admin commands", lambda request: AdminResponse(200, self._help())),
        )
        self._endpoints = {
            endpoint.path: endpoint for endpoint in sorted((*own, *endpoints), key=lambda each: each.path)
        }

    async def answer(self, request: AdminRequest) -> AdminResponse:
        """``respond`` for a server that would also wait for an answer."""
        return self.respond(request)

    def respond(self, request: AdminRequest) -> AdminResponse:
        """The answer to ``request``; never raises for what a client sent."""
        endpoint = self._endpoints.get(request.path)
        if endpoint is None:
            return AdminResponse(404, self._unknown())
        if endpoint.mutates and request.method != "POST":
            return text(f"Method {request.method} not allowed, POST required.", 405)
        if request.method not in ("GET", "HEAD", "POST"):
            return text(f"Method {request.method} not allowed.", 405)
        return endpoint.handle(request)

    def _unknown(self) -> Iterator[str]:
        yield "invalid path. "
        yield from self._help()

    def _help(self) -> Iterator[str]:
        yield "admin commands are:\n"
        for endpoint in self._endpoints.values():
            yield f"  {endpoint.path}{' (POST)' if endpoint.mutates else ''}: {endpoint.help}\n"
            for name, meaning in endpoint.parameters:
                yield f"      {name}: {meaning}\n"

    def _index(self, _request: AdminRequest) -> AdminResponse:
        return AdminResponse(200, self._index_page(), HTML)

    def _index_page(self) -> Iterator[str]:
        import html  # noqa: PLC0415 - its table of entities takes 300 KB, for a page that few look at

        yield "<!DOCTYPE html>\n<html lang='en'><head><title>Isthmus proxy admin</title></head><body>\n"
        yield "<h1>Isthmus proxy</h1>\n<table>\n"
        for endpoint in self._endpoints.values():
            path, meaning = html.escape(endpoint.path), html.escape(endpoint.help)
            if endpoint.mutates:
                # A link would send GET; orders to the proxy need POST.
                command = f"<form method='post' action='{path}'><button>{path}</button></form>"
            else:
                command = f"<a href='{path}'>{path}</a>"
            yield f"<tr><td>{command}</td><td>{meaning}</td></tr>\n"
        yield "</table></body></html>\n"
