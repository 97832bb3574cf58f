"""What a plugin may add to the admin: a page, an alert, a card of the overview and a metric. How old is each tip?

A worked example of `IAdminPage`, `IAlerts` and `IOverview`.

    applications:
      - {plugin: admin}
      - {plugin: tip-watch, patience: 1h}
"""

from zope.interface import implementer

from p2pframe.interfaces import Alert, IAdminPage, IAlerts, IApplication, IContext, INodeView, IOverview, PageTable
from p2pframe.plugin import Duration, Field, PluginConfig, plugin


class TipWatchConfig(PluginConfig):
    """Options of `tip-watch`."""

    patience: Duration = Field(3600.0, gt=0, description="A tip that is older than this is an alert.")


@plugin("tip-watch", config=TipWatchConfig)
@implementer(IApplication, IAdminPage, IAlerts, IOverview)
class TipWatch:
    """Shows in the admin how old each network's tip is, and alerts when it is too old."""

    name = "tip-watch"
    page_name = "tips"
    page_title = "Tips"
    overview_title = "Age of the tips"

    def __init__(self, config: TipWatchConfig, context: IContext) -> None:
        self._patience, self._clock, self._view = config.patience, context.reactor, context.service(INodeView)
        self._tips: dict[str, tuple[object, float]] = {}
        self._changes = context.metrics.counter("tip_watch_changes_total", "Tips that took another's place.", ["of"])

    def start(self) -> None:
        """Nothing to begin: it looks when it is asked, and the admin asks for alerts every few seconds."""

    def stop(self) -> None:
        """Nothing to end."""

    def page(self) -> list[PageTable]:
        """See `IAdminPage.page`."""
        rows = [(name, str(tip), round(age)) for name, tip, age in self._ages()]
        return [PageTable("Tips", ("Network", "Tip", "Seconds"), rows)]

    def alerts(self) -> list[Alert]:
        """See `IAlerts.alerts`."""
        return [
            Alert("old-tip", False, name, f"{name}: the tip is {age:.0f} s old.", "Compare it with another node's.")
            for name, tip, age in self._ages()
            if tip is not None and age > self._patience
        ]

    def overview(self) -> dict[str, str]:
        """See `IOverview.overview`."""
        return {name: f"{age:.0f} s" for name, tip, age in self._ages() if tip is not None}

    def _ages(self) -> list[tuple[str, object, float]]:
        now = self._clock.seconds()
        for one in self._view.networks():
            tip, before = one.status.get("tip"), self._tips.get(one.name)
            if before is None or before[0] != tip:
                self._tips[one.name] = (tip, now)
                self._changes.add(before is not None, one.name)
        return [(name, tip, now - since) for name, (tip, since) in self._tips.items()]
