"""YAML by the rules of YAML 1.2, within bounds, and every way of writing it wrongly."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.config import reader
from p2pframe.config.reader import read, read_text, typed
from p2pframe.config.tree import Problems, plain


def tree_of(tmp_path, text, env=None):
    path = tmp_path / "node.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    problems = Problems()
    tree = read(path, env or {}, problems)
    return tree, [str(p).replace(f"{tmp_path}/", "") for p in problems.sorted()]


def data_of(tmp_path, text, env=None):
    tree, problems = tree_of(tmp_path, text, env)
    assert not problems
    return plain(tree)


def problems_of(tmp_path, text, env=None):
    return tree_of(tmp_path, text, env)[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("Off", "Off"), ("y", "y"), ("22:22", "22:22"), ("1_000", "1_000"),
        ("1e3", 1000.0), ("1E3", 1000.0), ("-.5", -0.5), ("6.", 6.0), ("0777", 777), ("0o17", 15), ("0x1F", 31),
        ("0b11", "0b11"), ("2001-12-14", "2001-12-14"), ("=", "="), ("true", True), ("FALSE", False), ("tRUE", "tRUE"),
        ("~", None), ("null", None), ("", None), ("+12", 12), ("-0", 0), ("1.2.3", "1.2.3"), ("0o8", "0o8"), ("+0x1",
        "+0x1"),
        ("٣", "٣"), ("1e", "1e"), (".", "."), ("-", "-"), ("0.0.0.0", "0.0.0.0"), ("12345678901234567890",
        12345678901234567890),
    ],
)  # fmt: skip
def test_values_mean_what_they_look_like(text, value):
    assert typed(text) == value
    assert type(typed(text)) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9" * 101, "1." + "0" * 200])
def test_numbers_are_finite_and_short(text):
    with pytest.raises(ValueError, match="number"):
        typed(text)


@given(st.text(max_size=20))
def test_any_plain_text_has_a_value(text):
    try:
        value = typed(text)
    except ValueError:
        return
    assert value is None or isinstance(value, (str, int, float, bool))


def test_quoted_values_are_text(tmp_path):
    assert data_of(tmp_path, "a: '1'\nb: \"true\"\nc: ''\nd: !!str 5\ne: |\n  1\n") == {
        "a": "1", "b": "true", "c": "", "d": "5", "e": "1\n",
    }  # fmt: skip


def test_keys_are_text(tmp_path):
    assert data_of(tmp_path, "1: a\ntrue: b\n22:22: c\n") == {"1": "a", "true": "b", "22:22": "c"}


def test_the_data_is_what_pyyaml_reads_where_the_versions_agree(tmp_path):
    text = "a: [1, 2.5, x, {b: [], c: {}}]\nd: &x {e: f}\ng: [*x, *x]\n"
    assert data_of(tmp_path, text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1: a: duplicate key 'a': it stands on line 1 already"),
        ("a: {b: 1, b: 2}\n", "1:11: a.b: duplicate key 'b': it stands on line 1 already"),
        ("a:\nb: 1\n", "1:1: a: has no value: give it one or leave the key out"),
        ("a: {b: }\n", "1:5: a.b: has no value: give it one or leave the key out"),
        ("a:\n  -\n  - 1\n", "2:4: a.0: an empty item: give it a value or take it out"),
        ("'': 1\n", "1:1: an empty key"),
        ("? [a, b]\n: 1\n", "1:3: a key must be text"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "3:3: c: merge keys (<<) are not supported: repeat the keys, or use !include"),
        ("a: *b\n", "1:4: a: *b names no anchor"),
        ("a: &x [*x]\n", "1:8: a.0: *x stands inside of what it names"),
        ("a: !!set x\n", "1:4: a: unknown tag 'tag:yaml.org,2002:set': only !include is known, before a file's name"),
        ("a: !secret [x]\n", "1:4: a: unknown tag '!secret': only !include is known, before a file's name"),
        ("a: !!int x\n", "1:4: a: is no int, as its tag says"),
        ("a: .inf\n", "1:4: a: must be a finite number"),
        ("a: 1\n---\nb: 1\n", "2:1: a second document begins here: a configuration is one document"),
        ("a:\n\t- 1\n", "2:1: a tab: indent with spaces"),
        ("a: 'x\n", "2:1: not YAML: while scanning a quoted scalar: found unexpected end of stream"),
        ("a: [1, 2\nb: 3\n", "2:2: not YAML: while parsing a flow sequence: expected ',' or ']', but got ':'"),
        ("a: {b: ${X}}\n", "1:9: not YAML: put ${...} in quotes where it stands inside of {...} or [...]"),
        ("", "1:1: the file is empty"),
        ("# nothing\n", "1:1: the file is empty"),
        (b"a: 1\nb: \xff\n", "2:4: not UTF-8 (byte 0xff)"),
        ("a: 1\nb: x\x07y\n", "2:5: a control character (U+0007)"),
        (b"\xff\xfea\x00", "1:1: not UTF-8 (byte 0xff)"),
        ("a: ${NOPE}\n", "1:4: a: the environment variable NOPE is not set"),
        ("a: ${NO-PE}\n", "1:4: a: '${' begins no ${NAME}: write $${ for the characters themselves"),
        ("a: !include nope.yaml\n", "1:4: a: can't read nope.yaml: No such file or directory"),
        ("a: !include .\n", "1:4: a: can't read : it is not a file"),
        ("a: !include ''\n", "1:4: a: !include needs the name of a file"),
        ('a: "x\\0"\n', "1:4: a: holds a NUL or half of a character, which nothing can use"),
        ('a: "\\ud800"\n', "1:4: a: holds a NUL or half of a character, which nothing can use"),
        ("a: !include node.yaml\n", "1:4: a: !include goes in a circle: node.yaml is being read already"),
    ],
)
def test_each_mistake_is_named_where_it_stands(tmp_path, text, expected):
    found = problems_of(tmp_path, text)
    assert len(found) == 1
    assert found[0].removeprefix("node.yaml:").replace(str(tmp_path), "") == expected


def test_a_missing_file_and_a_folder(tmp_path):
    problems = Problems()
    assert read(tmp_path / "none.yaml", {}, problems) is None
    assert read(tmp_path, {}, problems) is None
    first, second = map(str, problems.sorted())
    assert first.endswith("none.yaml:1:1: can't read " + f"{tmp_path}/none.yaml: No such file or directory")
    assert second.endswith("it is not a file")


def test_a_bomb_of_aliases_is_bounded(tmp_path):
    text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
    for n in range(1, 12):
        text += f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]\n"
    [problem] = problems_of(tmp_path, text)
    assert "more than 50,000 values" in problem


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{a: " * 40 + "1" + "}" * 40, "- " * 500 + "x"])
def test_depth_is_bounded(tmp_path, text):
    [problem] = problems_of(tmp_path, text)
    assert "nested deeper than 32 levels" in problem


def test_aliases_count_against_depth(tmp_path):
    text = "a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20 + "\n"
    [problem] = problems_of(tmp_path, text)
    assert problem == "node.yaml:2:24: nested deeper than 32 levels"


def test_size_is_bounded_over_all_includes(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 100)
    (tmp_path / "more.yaml").write_text("x" * 90)
    [problem] = problems_of(tmp_path, "a: !include more.yaml\n")
    assert problem == "node.yaml:1:4: a: more.yaml: a configuration may have 100 bytes in all"


def test_a_chain_of_includes_is_bounded(tmp_path):
    for n in range(10):
        (tmp_path / f"{n}.yaml").write_text(f"- !include {n + 1}.yaml\n")
    [problem] = problems_of(tmp_path, "a: !include 0.yaml\n")
    assert problem == "6.yaml:1:3: a.0.0.0.0.0.0.0: !include goes deeper than 8 files"


def test_an_include_stands_for_its_file_and_is_relative_to_the_including_one(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one.yaml").write_text("x: !include two.yaml\n")
    (tmp_path / "sub" / "two.yaml").write_text("[1, no]\n")
    assert data_of(tmp_path, "a: !include sub/one.yaml\n") == {"a": {"x": [1, "no"]}}


def test_mistakes_in_includes_stand_in_their_files_after_the_main_one(tmp_path):
    (tmp_path / "one.yaml").write_text("x: 1\ny:\nx: 2\n")
    assert problems_of(tmp_path, "a: !include one.yaml\nb:\n") == [
        "node.yaml:2:1: b: has no value: give it one or leave the key out",
        "one.yaml:2:1: a.y: has no value: give it one or leave the key out",
        "one.yaml:3:1: a.x: duplicate key 'x': it stands on line 1 already",
    ]


def test_the_environment_stands_in_for_text(tmp_path):
    env = {"PORT": "8333", "NAME": "x: [", "WORD": "no"}
    text = 'a: ${PORT}\nb: "${PORT}"\nc: ${NAME}\nd: "127.0.0.1:${PORT}"\ne: $${PORT}\nf: $5 {x}\ng: ${WORD}\n'
    assert data_of(tmp_path, text, env) == {
        "a": 8333, "b": "8333", "c": "x: [", "d": "127.0.0.1:8333", "e": "${PORT}", "f": "$5 {x}", "g": "no",
    }  # fmt: skip


def test_an_include_named_by_the_environment_is_shown_as_written(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.yaml").write_text("x:\n")
    [problem] = problems_of(tmp_path, "a: !include ${WHERE}/a.yaml\n", {"WHERE": str(tmp_path / "secret")})
    assert problem == "${WHERE}/a.yaml:1:1: a.x: has no value: give it one or leave the key out"


def test_syntax_errors_of_an_include_quote_nothing_of_it(tmp_path):
    (tmp_path / "secret.yaml").write_text("hunter2: 'x' hunter2 %\n- *hunter2\n")
    found = problems_of(tmp_path, "a: !include secret.yaml\n")
    assert found and not any("hunter2" in problem for problem in found)


@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_tree_or_problems(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "node.yaml"
    path.write_bytes(data)
    problems = Problems()
    tree = read(path, {}, problems)
    assert tree is not None or problems


@given(text=st.text(alphabet="ab:-[]{}&*!#|>'\"?%@`, \n\t<$", max_size=60))
def test_any_punctuation_gives_a_tree_or_problems(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "node.yaml"
    path.write_text(text)
    problems = Problems()
    tree = read(path, {}, problems)
    assert tree is not None or problems


def test_a_text_without_a_file_is_read_by_the_same_rules(tmp_path):
    problems = Problems()
    assert plain(read_text("{a: [1, 2s]}", "--set x", tmp_path, {}, problems)) == {"a": [1, "2s"]}
    assert plain(read_text("${WHO}", "--set x", tmp_path, {"WHO": "me"}, problems)) == "me"
    assert not problems
    assert read_text("{a: 1", "--set x", tmp_path, {}, problems) is None
    assert read_text("\udc80", "--set y", tmp_path, {}, problems) is None
    assert [str(p).split(":")[0] for p in problems.sorted()] == ["--set x", "--set y"]
