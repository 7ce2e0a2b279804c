from __future__ import annotations

import pytest

from isthmus_proxy.route.regex import compile_pattern
from isthmus_proxy.route.uri_template import BadTemplateError, compile_rewrite, compile_template


@pytest.mark.parametrize(
    ("template", "fits", "fails"),
    [
        ("/", [b"/"], [b"/a", b""]),
        ("/a/*", [b"/a/b", b"/a/%20"], [b"/a/", b"/a/b/c", b"/a/b=c"]),
        ("/a/*/", [b"/a/b/"], [b"/a/b"]),
        ("/a/**", [b"/a/", b"/a/b/c"], [b"/a", b"/b/c"]),
        ("/**.mpd", [b"/content/dash/m.mpd", b"/.mpd"], [b"/m.mp4", b"/mXmpd"]),
        ("/v/*/*.m4s", [b"/v/1/2.m4s"], [b"/v/1/2/3.m4s"]),
        ("/{country}/{lang=**}", [b"/de/a/b", b"/de/"], [b"/de", b"//"]),
        ("/{path=a/*/c}/d", [b"/a/x/c/d"], [b"/a/x/y/c/d", b"/b/x/c/d"]),
        ("/(a)+", [b"/(a)+"], [b"/a", b"/aa"]),
    ],
)
def test_templates(template: str, fits: list[bytes], fails: list[bytes]) -> None:
    pattern = compile_pattern(compile_template(template).regex)
    assert all(pattern.fullmatch(path) for path in fits)
    assert not any(pattern.fullmatch(path) for path in fails)


@pytest.mark.parametrize(
    "template",
    [
        "a", "/a b", "/**/*", "/**/{a}", "/**/{a=**}", "/{a}/{a}", "/{1}", "/{}", "/{a", "/{a=}", "/{a=b/}", "/{a=*b}",
        "/*b/c", "/a*b/c", "/a=b", "/{a}/{b}/{c}/{d}/{e}/{f}", "/{abcdefghijklmnopq}", "//a",
    ],
)  # fmt: skip
def test_what_is_no_template(template: str) -> None:
    with pytest.raises(BadTemplateError):
        compile_template(template)


def test_rewrites() -> None:
    template = compile_template("/{country}/{lang=**}")
    assert compile_rewrite("/x/{lang}/{country}", template).path(b"/de/a/b") == b"/x/a/b/de"
    assert compile_rewrite("/{lang}", template).path(b"nothing") == b"nothing"
    assert compile_rewrite("/a-{country}b", template).path(b"/de/") == b"/a-deb"
    for text in ("x", "/{other}", "/a b", "//a", "/{country"):
        with pytest.raises(BadTemplateError):
            compile_rewrite(text, template)
