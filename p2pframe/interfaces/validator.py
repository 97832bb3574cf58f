"""IValidator: is this item good?"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from p2pframe.model import Item, Topic, Validation


class IValidator(Interface):
    """Is this item good? Protocols bring their own; more can be named in the config and run after those, in order."""

    topics: Sequence[Topic] = Attribute("Which topics it judges; empty means all.")

    def validate(item: Item) -> Validation | Deferred[Validation]:
        """Called once for each item that was not known, before it is stored or spread.

        May take its time with a Deferred (core bounds how many wait at once: `limits.validations`). REJECT remembers
        the id for a while; IGNORE does not; WAIT has the missing ones fetched and asks again when they are there. An
        exception counts as IGNORE, and is logged with the plugin's name.
        """
