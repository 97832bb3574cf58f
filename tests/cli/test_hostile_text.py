"""Whatever a peer says of itself is shown as plain characters, on a terminal of any encoding."""

import io
import sys

import pytest

from p2pframe.admin import rows, values_logs
from p2pframe.admin.peers import story as told_of
from p2pframe.cli.remote import show, story
from p2pframe.cli.remote.log import line as line_of
from tests.admin.web import View

TEXT = "\u00e9\u4e2d\x1b[31m\x07\u202e[bold]\ud800\r\n\x9b\u2066\u200f\u061c\u200b\xad\ufeff\u3164\U000e0041"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_text_ends_a_command_or_moves_the_cursor(encoding, monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, newline=""))
    view = View(TEXT)
    view.happen(reason=TEXT)
    story.told(told_of(view.story("net", 1), 1000.0))
    show.peers([rows.peer(one, 1000.0) for one in view.sessions()])
    show.bans([rows.penalty(one) for one in view.penalties()])
    show.events([rows.event(one) for one in view.kept])
    line = values_logs.LogLine(
        number=1, time=1.0, level="info", namespace=TEXT, text=TEXT, fields={}, traceback=f"{TEXT}{TEXT}"
    )
    print(line_of(line))
    sys.stdout.flush()
    text = out.getvalue().decode(encoding)
    assert "31m" in text, "it is shown"
    assert "\\u202e" in text and "\\u200b" in text
    assert encoding != "utf-8" or "\u00e9\u4e2d\\x1b" in text, "plain letters stay"
    for bad in set(TEXT) - set("\u00e9\u4e2d[31m[bold]\n"):
        assert bad not in text
