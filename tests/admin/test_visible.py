"""What a peer or a plugin says changes no page: all of it is to be seen, and what a form sends back is as it was."""

from html.parser import HTMLParser
from itertools import count

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2pframe.admin.rendering import Made, Rendering
from p2pframe.admin.section import exact
from p2pframe.testing.context import result_of
from p2pframe.visible import visible_lines
from tests.admin.web import example

TEXT = "/\u202e\u2066\u200f\u061c\u200b\xad\ufeff\u3164\x1b[31m\x07\x9b\U000e0041 é中文😀/"
HIDDEN = set(TEXT) - set("/[31m é中文😀")
GIVEN_BACK = {"data-value", "data-path", "data-subject", "data-scope", "value"}
"""Attributes that a script or a form sends to the node."""


class _Read(HTMLParser):
    """What a reader can see of a page: its text, and the attributes that are shown or told."""

    def __init__(self, page):
        super().__init__()
        self.text, self.given_back = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            (self.given_back if name in GIVEN_BACK else self.text).append(value or "")

    def handle_data(self, data):
        self.text.append(data)


@pytest_twisted.ensureDeferred
async def test_no_page_hides_or_turns_what_it_shows(webs):
    web = await webs(text=TEXT)
    web.view.happen(reason=TEXT, **{TEXT: TEXT})
    web.view.shown = {TEXT: TEXT}
    told, back = 0, 0
    for route in web.routes:
        if not route.page:
            continue
        answer = await web.ask("GET", example(route)[0], **web.operator)
        assert answer.status == 200, route.path
        page = _Read(answer.body.decode())
        text = "\n".join(page.text)
        assert not HIDDEN & set(text), route.path
        told += visible_lines(TEXT) in text
        back += any("\u202e\u2066" in one for one in page.given_back)
    assert told >= 8, "it is shown, spelled out, with the plain letters as they are"
    assert back >= 1, "the value of a setting goes into its dialog as it is"


@pytest_twisted.ensureDeferred
async def test_the_api_gives_it_as_it_is(webs):
    web = await webs(text=TEXT)
    answer = await web.ask("GET", "/api/v1/peers", **web.viewer)
    assert answer.json["peers"][0]["agent"] == TEXT


def page(*pieces):
    """What becomes of the pieces of a page, on a clock of which a turn never ends."""
    made = Rendering(Clock(), lambda: 0.5, lambda name: None).opened("key", lambda: Made(list(pieces)))
    return result_of(Deferred.fromCoroutine(made)).text


@pytest.mark.parametrize("text", ["", "<p>\n\t</p>", "é", "<b>中文</b>", "😀", "\u2764\ufe0f"])
def test_plain_text_stays(text):
    assert page("<p>", text) == f"<p>{text}"


@given(st.lists(st.text(st.characters(exclude_categories=[]))))
def test_whatever_is_put_on_a_page_is_seen(pieces):
    assert page(*pieces) == visible_lines("".join(pieces))


def turns_of(piece):
    """Turns of the reactor that a long page takes, by a clock that moves whenever it is looked at."""
    clock, looks = Clock(), count()
    clock.seconds = lambda: next(looks) / 1000
    rendering = Rendering(clock, lambda: 0.5, lambda name: None)
    made = Deferred.fromCoroutine(rendering.opened("key", lambda: Made([piece] * 10_000)))
    turns = 0
    while clock.calls:
        clock.calls.pop(0).func(None)
        turns += 1
    assert result_of(made).text == visible_lines(piece) * 10_000
    return turns


def test_spelling_out_holds_the_reactor_no_longer_than_a_page_does():
    assert turns_of("\u202e") >= 1.8 * turns_of("a") > 18


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_what_is_given_back_is_as_it_was(text):
    tag = page('<input value="', exact(text), '">')
    assert tag.isascii() and tag.isprintable()
    assert _Read(tag).given_back == [text]
    assert str(exact(5)) == "5"
