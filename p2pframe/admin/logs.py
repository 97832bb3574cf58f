"""The log: its latest lines, by level, namespace and text, and as they come. Its page has the alerts, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import cast
from urllib.parse import urlencode

from p2pframe.admin import values_logs as values
from p2pframe.admin.access import Role
from p2pframe.admin.rendering import Lazily, Made
from p2pframe.admin.routes import Call, Route
from p2pframe.admin.section import Maker
from p2pframe.admin.server import Streaming
from p2pframe.admin.stream import Source, Streams, resumed
from p2pframe.admin.values import Alerts
from p2pframe.interfaces import INodeView, LogLine
from p2pframe.interfaces.node import LOG_LEVELS

LINES = 200
"""Lines on one page."""
NAMESPACES = 100
"""Namespaces that the page suggests."""
_STREAM = "/api/v1/logs/stream"


class Logs:
    """The section of the log."""

    def __init__(
        self, view: INodeView, streams: Streams, maker: Maker, alerts: Callable[[Call], Alerts]
    ) -> None:
        self._view = view
        self._alerts = alerts
        self._streams = streams
        self._maker = maker

    def routes(self) -> Sequence[Route]:
        """See `Section.routes`."""
        viewer = Role.VIEWER
        return [
            Route("GET", "/api/v1/logs", viewer, "The latest lines of the log.", self.logs, values.LogsQuery,
                  answer=values.Logs),
            Route("GET", _STREAM, viewer, "The log as it is written, as server-sent events.", self.stream,
                  values.LogsStreamQuery, content_type="text/event-stream", refusals=(503,)),
            self._maker.page("/logs", "The log.", self.page, values.LogsPageQuery),
        ]  # fmt: skip

    def logs(self, call: Call) -> values.Logs:
        """Newest first."""
        found, more = self._found(call.query, call.query.limit)
        return values.Logs(lines=[row(one) for one in found], least=self._least(), next=more)

    def stream(self, call: Call) -> Streaming:
        """As they come; who reads too slowly is ended, and goes on where it was."""
        self._streams.check()
        asked, last, view = call.query, resumed(call), self._view
        fitting = (asked.level, asked.namespace.strip(), asked.text.strip())
        source: Source[LogLine] = Source(
            # Not only those that fit: of a long log it would be gone over all of it to find a few.
            view.logs, view.follow_log, _told, view.latest_logs, lambda line: line.fits(*fitting),
        )  # fmt: skip
        return Streaming(lambda request: self._streams.begin(request, source, last).end)

    def page(self, call: Call) -> Made:
        """Newest first, with what to choose from."""
        asked = call.query
        found, more = self._found(asked, LINES)
        chosen = {"level": asked.level, "namespace": asked.namespace.strip(), "text": asked.text.strip()}
        spaces = sorted({one.namespace for one in self._view.latest_logs(1000) if one.namespace})[:NAMESPACES]
        return self._maker.made(
            "logs.html", call, "/logs", title="Logs", lines=Lazily(found, row), levels=LOG_LEVELS, chosen=chosen,
            namespaces=spaces, least=self._least(), older=urlencode({**chosen, "cursor": more}) if more else "",
            latest=asked.cursor is None, here=urlencode(chosen), stream=f"{_STREAM}?{urlencode(chosen)}",
            alerts=self._alerts(call),
        )  # fmt: skip

    def _found(
        self, asked: values.LogsQuery | values.LogsPageQuery, limit: int
    ) -> tuple[Sequence[LogLine], str | None]:
        before = json.loads(asked.cursor)[0] if asked.cursor is not None else None
        fitting = (asked.level, asked.namespace.strip(), asked.text.strip())
        found = self._view.latest_logs(limit + 1, before, *fitting)
        more = f"[{found[limit - 1].number}]" if len(found) > limit else None
        return found[:limit], more

    def _least(self) -> str:
        """The node's own key: what is less grave is not logged at all."""
        found = next((one.value for one in self._view.settings() if one.path == "node.log_level"), None)
        return str(found) if found in LOG_LEVELS else "info"


def row(line: LogLine) -> values.LogLine:
    """A line, as it is answered."""
    return values.LogLine(
        number=line.number, time=line.time, level=cast(values.Level, line.level), namespace=line.namespace,
        text=line.text, fields=dict(line.fields), traceback=line.traceback,
    )  # fmt: skip


def _told(line: LogLine) -> tuple[str, bytes]:
    return "line", row(line).encoded()
