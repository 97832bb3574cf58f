"""Text that somebody else chose, so that it reads as what it is: characters that can't be seen are spelled out.

A user agent, evidence, the name of an item or an error may hold controls, which a terminal obeys; marks that turn the
direction of writing, so that a line reads backwards (Unicode technical report 36, 2.1); and characters of no width,
with which one name looks like another. The log, the admin's pages, the commands and the reports all show them by this.
"""

from __future__ import annotations

import re

_HIDDEN = (
    # The categories Cs, Co, Zl and Zp: halves of a pair, characters of private use, and what ends a line.
    "\ud800-\udfff\ue000-\uf8ff\U000f0000-\U0010ffff\u2028\u2029"
    # Cf, which have no look of their own or change that of others: marks of direction, joiners, tags, soft hyphens.
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
    # Letters and marks that nobody sees: fillers, and selectors of variants. The last two of these, by which a sign
    # is an emoji or is none, are plain text.
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0d\uffa0"
    # No characters at all.
    "\ufdd0-\ufdef\ufffe\uffff"
)
_CONTROLS = [*map(chr, (*range(9), *range(11, 32), 127))]
_IN_LINE = re.compile(f"[\x00-\x1f\x7f-\x9f{_HIDDEN}]")
_IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_HIDDEN}]")


def visible(text: str) -> str:
    """One line in which all is seen: a control is `\\x1b` or `\\n`, a mark that turns the direction `\\u202e`."""
    return text if text.isascii() and text.isprintable() else _IN_LINE.sub(_spelled, text)


def visible_lines(text: str) -> str:
    """The same of text that may have several lines, and tabs."""
    return text if text.isascii() and text.isprintable() else _IN_LINES.sub(_spelled, text)


def plain(text: str) -> bool:
    """Whether `visible_lines` surely leaves it as it is, found quickly in a million characters; False but for ASCII."""
    return text.isascii() and not any(one in text for one in _CONTROLS)


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
