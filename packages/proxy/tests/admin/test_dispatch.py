from __future__ import annotations

import pytest

from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.response import AdminRequest, AdminResponse, Endpoint, text


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher(
        [
            Endpoint("/a", "shows <a>", lambda request: text(f"a {sorted(request.query.items())}")),
            Endpoint("/do", "does", lambda _: text("done"), mutates=True, parameters=(("how", "the way"),)),
        ]
    )


def ask(dispatcher: Dispatcher, method: bytes, target: bytes) -> AdminResponse:
    return dispatcher.respond(AdminRequest.from_target(method, target))


def body(response: AdminResponse) -> str:
    return "".join(response.body)


@pytest.mark.parametrize(
    ("method", "target", "status", "expected"),
    [
        (b"GET", b"/a", 200, "a []"),
        (b"GET", b"/a?x=1&y&x=2", 200, "a [('x', '2'), ('y', '')]"),
        (b"POST", b"/a", 200, "a []"),
        (b"HEAD", b"/a", 200, "a []"),
        (b"DELETE", b"/a", 405, "Method DELETE not allowed."),
        (b"GET", b"/do", 405, "Method GET not allowed, POST required."),
        (b"POST", b"/do", 200, "done"),
    ],
)
def test_answers(dispatcher: Dispatcher, method: bytes, target: bytes, status: int, expected: str) -> None:
    response = ask(dispatcher, method, target)
    assert (response.status, body(response)) == (status, expected)


def test_an_unknown_path_shows_what_there_is(dispatcher: Dispatcher) -> None:
    response = ask(dispatcher, b"GET", b"/nope")
    assert response.status == 404
    shown = body(response)
    assert shown.startswith("invalid path. admin commands are:\n  /: Admin home page\n  /a: shows <a>\n")
    assert "  /do (POST): does\n      how: the way\n" in shown


def test_the_index_links_what_is_read_and_posts_what_changes(dispatcher: Dispatcher) -> None:
    page = body(ask(dispatcher, b"GET", b"/"))
    assert "<a href='/a'>/a</a></td><td>shows &lt;a&gt;" in page
    assert "<form method='post' action='/do'>" in page


@pytest.mark.parametrize(("target", "expected"), [(b"/?f", True), (b"/?f=1", True), (b"/?f=0", False), (b"/", False)])
def test_flags(target: bytes, expected: bool) -> None:
    assert AdminRequest.from_target(b"GET", target).flag("f") is expected
