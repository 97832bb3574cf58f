"""IWorkload: what new items can this application make, one at a time, when it is told to?"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from p2pframe.model import ItemId, Topic


class IWorkload(Interface):
    """Makes items of the node's own. An application may provide it beside `IApplication`.

    The simulator's workload drives it, by the schedule that a scenario gives; so can any application on a network that
    is there for tests. `context.service(IWorkload, network=...)` is not how it is found: whoever drives it holds the
    applications of the node.
    """

    topics: Sequence[Topic] = Attribute("Which topics it makes items of.")

    def produce(topic: Topic, size: int) -> Deferred[ItemId]:
        """Make one new valid item of about `size` bytes and hand it to the node, as one of its own.

        Called at any time between `start` and `stop`, also while an earlier one is under way. Fires with the item's id
        when the node has taken it. Fails with `P2PFrameError` where the node did not, or with `ValueError` for a topic
        that is not among `topics`.
        """
