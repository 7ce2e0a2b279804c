"""Files of a directory store: last good content, bad documents, duplicates."""

from __future__ import annotations

import yaml

from isthmus_controlplane.model.testing import document
from isthmus_controlplane.stores.directory_files import MAX_FILE_BYTES, FileContent, merge_files, read_file

NOTHING = FileContent()


def text(*names: str, port: int = 80) -> bytes:
    def one(name: str) -> object:
        ports = [{"number": port, "name": "http", "protocol": "HTTP"}]
        return document("ServiceEntry", name, {"hosts": [f"{name}.shop"], "ports": ports, "resolution": "STATIC"})

    return yaml.safe_dump_all([one(name) for name in names]).encode()


def names(content: FileContent) -> list[str]:
    return [key.name for key in content.objects]


def test_a_good_file() -> None:
    content = read_file("a.yaml", text("x", "y"), NOTHING)
    assert (names(content), content.problems, content.good) == (["x", "y"], (), True)
    assert [obj.origin for obj in content.objects.values()] == ["a.yaml#1", "a.yaml#2"]


def test_a_bad_document_keeps_the_last_good_file_and_is_named() -> None:
    good = read_file("a.yaml", text("x", "y"), NOTHING)
    bad = read_file("a.yaml", text("x") + b"---\n" + text("y", port=0), good)
    assert bad.objects is good.objects
    (problem,) = bad.problems
    assert (problem.origin, problem.path) == ("a.yaml#2", "spec.ports[0].number")
    assert problem.message.endswith("the last good content of the file stays in use")


def test_the_last_good_file_survives_several_bad_ones() -> None:
    content = good = read_file("a.yaml", text("x"), NOTHING)
    for data in (b"a: [", b"\xff", text("x", port=0), b"x" * (MAX_FILE_BYTES + 1)):
        content = read_file("a.yaml", data, content)
        assert content.objects is good.objects
        assert content.problems


def test_of_a_file_that_was_never_good_the_good_documents_are_used() -> None:
    content = read_file("a.yaml", text("x") + b"---\n" + text("y", port=0), NOTHING)
    assert (names(content), len(content.problems), content.good) == (["x"], 1, False)


def test_an_object_twice_in_one_file_is_refused() -> None:
    (problem,) = read_file("a.yaml", text("x", "x"), NOTHING).problems
    assert (problem.origin, problem.path) == ("a.yaml#2", "metadata.name")


def test_unchanged_objects_keep_their_identity() -> None:
    before = read_file("a.yaml", text("x", "y"), NOTHING)
    after = read_file("a.yaml", text("x") + b"---\n" + text("y", port=81), before)
    assert [before.objects[key] is after.objects[key] for key in before.objects] == [True, False]


def test_of_two_files_with_one_object_the_first_to_have_it_wins() -> None:
    one, two = read_file("a.yaml", text("x"), NOTHING), read_file("b.yaml", text("x"), NOTHING)
    objects, owners, problems = merge_files({"b.yaml": two}, {})
    assert not problems
    objects, owners, problems = merge_files({"a.yaml": one, "b.yaml": two}, owners)
    assert [obj.origin for obj in objects.values()] == ["b.yaml#1"]
    assert [(problem.origin, problem.path) for problem in problems] == [("a.yaml#1", "metadata.name")]
    assert "already defined in b.yaml#1" in problems[0].message
    _, owners, problems = merge_files({"a.yaml": one}, owners)
    assert (list(owners.values()), problems) == (["a.yaml"], ())


def test_files_are_read_in_the_order_of_their_names() -> None:
    one, two = read_file("a.yaml", text("x"), NOTHING), read_file("b.yaml", text("x"), NOTHING)
    _, owners, _ = merge_files({"b.yaml": two, "a.yaml": one}, {})
    assert list(owners.values()) == ["a.yaml"]
