"""Pages and cards of plugins: values only, bounded, and a plugin that fails is named."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from p2pframe.admin.access import Role
from p2pframe.admin.api import Api
from p2pframe.admin.cards import Cards
from p2pframe.admin.routes import Call, Problem
from p2pframe.interfaces import PageTable
from p2pframe.testing.conformance.services import StandInView
from p2pframe.testing.context import FakeContext


class Plugin:
    def __init__(self, name, tables, title="A page"):
        self.page_name = name
        self.page_title = title
        self._tables = tables

    def page(self):
        return self._tables()


class View(StandInView):
    def __init__(self, *plugins):
        super().__init__()
        self.plugins = [(f"application.p{number}", one) for number, one in enumerate(plugins)]

    def providers(self, interface):
        return self.plugins


def ask(view, name=None):
    api = Api(FakeContext(), view, None, None, None, None, cookie=str, most_streams=lambda: 1)
    call = Call({"name": name} if name else {}, None, None, "a person", Role.VIEWER, None, "127.0.0.1", 0.0)
    return api.plugin_page(call) if name else api.plugin_pages(call)


def test_they_are_listed_by_name_the_first_of_two_and_none_with_a_bad_one():
    view = View(
        Plugin("tips", list), Plugin("tips", list, "Another"), Plugin("../x", list), Plugin("Big", list),
        Plugin("a" * 41, list), Plugin("ok-2", list),
    )  # fmt: skip
    assert [(one.name, one.title, one.plugin) for one in ask(view).pages] == [
        ("tips", "A page", "application.p0"), ("ok-2", "A page", "application.p5"),
    ]  # fmt: skip


def test_what_is_on_one_is_values_and_bounded():
    rows = [("<b>x</b>", 1, 2.5, True, None, b"bytes", "y" * 5000)] * 1500
    tables = [PageTable("T", ("a", "b"), rows, "Why.")] * 30
    page = ask(View(Plugin("p", lambda: tables)), "p")
    assert len(page.tables) == 20
    assert len(page.tables[0].rows) == 1000
    assert page.tables[0].rows[0][:6] == ["<b>x</b>", 1, 2.5, True, None, "b'bytes'"]
    assert len(page.tables[0].rows[0][6]) == 1000


def test_one_that_fails_is_named(flush_logged_errors):
    with pytest.raises(Problem, match=r"application\.p0 could not make its page") as caught:
        ask(View(Plugin("p", lambda: 1 / 0)), "p")
    assert caught.value.status == 500
    assert len(flush_logged_errors(ZeroDivisionError)) == 1
    with pytest.raises(Problem, match="no plugin has such a page"):
        ask(View(), "p")


class Shower:
    """A plugin with a card."""

    def __init__(self, values, title="Mine"):
        self.overview_title = title
        self.overview = values


def test_cards_are_values_bounded_and_one_that_fails_hides_no_other(flush_logged_errors):
    many = {f"value {number}": number for number in range(30)}
    odd = {"a" * 500: "y" * 5000, "b": b"bytes", "c": None, "d": 1.5, "e": True, "f": 10**5000}
    view = View(
        Shower(lambda: many), Shower(lambda: 1 / 0), Shower(lambda: [1, 2]), Shower(lambda: odd, "T" * 500),
        SimpleNamespace(overview=dict), Shower(dict),
    )  # fmt: skip
    cards = Cards(view)
    for _ in range(3):
        found = cards.now()
    assert [(one.plugin, one.error.rpartition(": ")[2]) for one in found] == [
        ("application.p0", ""), ("application.p1", "ZeroDivisionError."), ("application.p2", "TypeError."),
        ("application.p3", ""), ("application.p4", "AttributeError."), ("application.p5", ""),
    ]  # fmt: skip
    assert len(flush_logged_errors(ZeroDivisionError)) == 1, "it is logged once"
    assert len(flush_logged_errors(TypeError, AttributeError)) == 2
    assert found[0].values == {f"value {number}": number for number in range(20)}
    assert len(found[3].title) == 100
    assert {name: value for name, value in found[3].values.items() if name != "f"} == {
        "a" * 100: "y" * 1000, "b": "b'bytes'", "c": None, "d": 1.5, "e": True,
    }  # fmt: skip
    assert len(found[3].values["f"]) == 1000
    assert all(one.encoded() for one in found)
