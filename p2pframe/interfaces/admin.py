"""What a plugin may add to the admin: a page, alerts, a card of the overview. Values only: nothing of it is markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zope.interface import Attribute, Interface

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of a page, with a sentence or two above it; without columns, only these."""

    title: str
    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[Cell]] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that an operator should look at, in one sentence, and in another what to do about it.

    A critical one makes the node unhealthy. `name` is a stable word; `network` is empty where it is the node's.
    """

    name: str
    critical: bool
    network: str
    text: str
    runbook: str


class IAdminPage(Interface):
    """Any plugin may also provide this: it gets a page in the admin, and in its API."""

    page_name: str = Attribute("The word in the page's address: lower-case letters, digits and hyphens, 40 at most.")
    page_title: str = Attribute("What the page is called in the menu.")

    def page() -> Sequence[PageTable]:
        """What is on it now; asked whenever somebody looks. The first 20 tables of 1000 rows are shown."""


class IAlerts(Interface):
    """Any plugin may also provide this: it has its own alerts."""

    def alerts() -> Sequence[Alert]:
        """Those that hold now; asked every few seconds. The first 20 are shown."""


class IOverview(Interface):
    """Any plugin may also provide this: it has a card on the admin's overview, and in its API."""

    overview_title: str = Attribute("What is above the card.")

    def overview() -> Mapping[str, Cell]:
        """Named values, as they are now; asked whenever somebody looks. The first 20 are shown."""
