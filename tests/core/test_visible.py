"""Text that others chose: what can't be seen is spelled out, and nothing else is touched."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.visible import visible, visible_lines

PLAIN = [
    "", "/Satoshi:27.0.0/", "Ünïcödé é", "中文\u3000節點", "עברית العربية", "Ελληνικά", "😀 \u2764\ufe0f", "a\xa0b",
    "\\u202e", "e\u0301",
]  # fmt: skip
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Categories of Unicode whose characters have no look of their own."""


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_of_any_script_stays(text):
    assert visible(text) == visible_lines(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/\u202e:1.0/", "/\\u202e:1.0/"),
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),
        ("\u200e\u200f\u061c", "\\u200e\\u200f\\u061c"),
        ("pay\u200bpal\u200d\ufeff", "pay\\u200bpal\\u200d\\ufeff"),
        ("so\xadft", "so\\xadft"),
        ("\x1b[2J\x07\x9b", "\\x1b[2J\\x07\\x9b"),
        ("\u3164\u115f\uffa0\u034f", "\\u3164\\u115f\\uffa0\\u034f"),
        ("tag\U000e0041\U000e0100", "tag\\U000e0041\\U000e0100"),
        ("half\ud800", "half\\ud800"),
        ("\u2028\u2029\ue000\uffff", "\\u2028\\u2029\\ue000\\uffff"),
    ],
)
def test_what_deceives_is_spelled_out(text, shown):
    assert visible(text) == visible_lines(text) == shown


def test_lines_stay_lines_where_there_may_be_several():
    assert visible("a\n\tb\r") == "a\\n\\tb\\r"
    assert visible_lines("a\n\tb\r") == "a\n\tb\\r"


def test_every_character_without_a_look_of_its_own_is_spelled_out():
    missed = [
        hex(code) for code in range(0x110000)
        if unicodedata.category(chr(code)) in HIDDEN and visible(chr(code)) == chr(code)
    ]  # fmt: skip
    assert missed == []


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_hidden_is_left_and_nothing_else_is_changed(text):
    for function, kept in ((visible, ""), (visible_lines, "\n\t")):
        shown = function(text)
        assert not [one for one in shown if unicodedata.category(one) in HIDDEN and one not in kept]
        assert shown == function(shown) == "".join(map(function, text))
        assert all(function(one).isascii() for one in text if function(one) != one)
