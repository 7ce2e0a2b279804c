"""YAML text: strict loading, and edits that leave the rest alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.stores.yaml_text import YamlError, load_documents, remove_document, replace_document

THREE = "# head\na: 1\n---\n# second\nb:\n  - 2 # two\n# after\n---\nc: {d: 3}\n"


def test_documents_are_numbered_and_empty_ones_left_out() -> None:
    assert [(each.number, each.value) for each in load_documents("---\n---\na: 1\n---\n")] == [(2, {"a": 1})]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\na: 2\n", "line 2", "'a' stands there twice"),
        ("a: {b: 1, b: 2}", "line 1", "'b' stands there twice"),
        ("a: &x [1]\nb: *x\n", "line 2", "aliases are not supported"),
        ("a: [1\nb: 2", "line 2", ""),
        ("a:\n\t- b", "line 2", ""),
        ("a: !!python/object/apply:os.system [ls]", "line 1", "could not determine a constructor"),
        ("a: 2024-13-45", "", "cannot be read"),
        ("[" * 5000, "", ""),
    ],
)
def test_bad_text_is_refused_with_its_place(text: str, line: str, what: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_documents(text)
    assert line in str(caught.value)
    assert what in str(caught.value)


@given(st.text())
def test_no_text_crashes_the_loader(text: str) -> None:
    try:
        load_documents(text)
    except YamlError as error:
        assert str(error)  # noqa: PT017 - both outcomes are fine


def test_one_document_is_replaced_and_the_rest_stays() -> None:
    assert replace_document(THREE, 2, "b: new\n") == "# head\na: 1\n---\n# second\nb: new\n---\nc: {d: 3}\n"
    assert replace_document(THREE, 1, "x: 1\n").startswith("# head\nx: 1\n---\n# second")
    assert load_documents(replace_document(THREE, 3, "x: 1\n"))[2].value == {"x": 1}


def test_one_document_is_removed_and_the_numbers_stay() -> None:
    assert [(each.number, each.value) for each in load_documents(remove_document(THREE, 2))] == [
        (1, {"a": 1}),
        (3, {"c": {"d": 3}}),
    ]


def test_text_that_is_nested_too_deeply_is_refused_before_libyaml_recurses() -> None:
    with pytest.raises(YamlError, match="line 1: is nested more than 100 deep"):
        load_documents("[" * 60_000 + "]" * 60_000)
    (document,) = load_documents("[" * 100 + "]" * 100)
    assert document.number == 1
