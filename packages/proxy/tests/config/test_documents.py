from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.config import documents
from isthmus_proxy.errors import ConfigError


def test_yaml_and_json_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("node: {id: x}\nlist: [1, 2.5, true, null]\n")
    (tmp_path / "a.json").write_text('{"node": {"id": "x"}, "list": [1, 2.5, true, null]}')
    expected = {"node": {"id": "x"}, "list": [1, 2.5, True, None]}
    assert documents.read(tmp_path / "a.yaml") == expected
    assert documents.read(tmp_path / "a.json") == expected


def test_json_is_known_by_its_content_too() -> None:
    assert documents.parse('\n {"a":\t1}', is_json=False) == {"a": 1}


def test_dates_stay_text() -> None:
    assert documents.parse("a: 2026-01-01", is_json=False) == {"a": "2026-01-01"}


def test_merge_keys_are_no_duplicates() -> None:
    text = "base: &b {x: 1}\na: {<<: *b, y: 2}\n"
    assert documents.parse(text, is_json=False)["a"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "is_json", "where", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", False, "line 3 = a", "twice"),
        ("a:\n  - {b: 1, b: 2}\n", False, "line 2 = b", "twice"),
        ('{"a": 1,\n"b": {"c": 1},\n"a": 2}', True, "line 1, 3 = a", "twice"),
        ("a: [1\n", False, "line 2", "is not YAML"),
        ("a: !!python/object:os.system x\n", False, "line 1", "is not YAML"),
        ('{"a": }', True, "line 1", "is not JSON"),
        ("", False, "file", "holds nothing"),
        ("- a\n", False, "file", "holds list"),
        ("[" * 100_000, False, "line 1", "nested more than 200 deep"),
        ("a: &x [1, *x]", False, "line 1", "stands inside of what it names"),
        ("a: *unknown", False, "line 1", "is not YAML"),
        ("[" * 100_000, True, "file", "nested too deeply"),
        ("a: b: c", False, "line 1", "is not YAML"),
    ],
)
def test_bad_documents_name_the_place(text: str, is_json: bool, where: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        documents.parse(text, is_json=is_json)
    assert where in str(caught.value)
    assert reason in str(caught.value)


def test_aliases_cannot_multiply_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match=r"line \d: has more than 5000000 values"):
        documents.parse("\n".join(lines), is_json=False)


def test_bad_files_name_the_file(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(ConfigError, match=r"missing\.yaml: file: cannot be read: No such file"):
        documents.read(missing)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 3\)"):
        documents.read(binary)
    with pytest.raises(ConfigError, match="cannot be read"):
        documents.read(tmp_path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(documents.MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="is larger than"):
        documents.read(huge)


@given(text=st.text(max_size=200), is_json=st.booleans())
def test_any_text_gives_a_mapping_or_a_config_error(text: str, is_json: bool) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(documents.parse(text, is_json=is_json), dict)
