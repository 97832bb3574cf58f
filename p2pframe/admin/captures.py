"""Captures: what a session says, written into files for later; begun, ended, fetched and deleted by operators."""

from __future__ import annotations

from collections.abc import Sequence

from p2pframe.admin import values as v
from p2pframe.admin.access import Role
from p2pframe.admin.api import V1, Api, no_session
from p2pframe.admin.capturing import CaptureRefused, Captures
from p2pframe.admin.rendering import Made
from p2pframe.admin.routes import Call, Problem, Reply, Route
from p2pframe.admin.section import Maker

_PEERS = 500
"""Sessions that the page offers to capture."""


class CaptureFiles:
    """The captures, in the API and on a page."""

    def __init__(self, api: Api, maker: Maker, captures: Captures) -> None:
        self._api = api
        self._maker = maker
        self._captures = captures

    def routes(self) -> Sequence[Route]:
        """See `Section.routes`."""
        operator = Role.OPERATOR
        peer = V1 + "/peers/{network}/{id}"
        return [
            Route("POST", peer + "/capture", operator, "Write down what a session sends and receives.", self.begin,
                  None, v.Capture, v.CaptureName, refusals=(404, 409)),
            Route("POST", peer + "/capture/stop", operator, "End a capture.", self.stop, status=204, refusals=(404,)),
            Route("GET", V1 + "/captures", operator, "The captures there are.", self.all, answer=v.Captures),
            Route("GET", V1 + "/captures/{name}", operator, "A capture, as it is.", self.file,
                  content_type="application/octet-stream", refusals=(404,)),
            Route("POST", V1 + "/captures/{name}/delete", operator, "Forget a capture.", self.delete,
                  status=204, refusals=(404,)),
            self._maker.page("/captures", "Captures.", self.page, role=operator),
        ]  # fmt: skip

    def begin(self, call: Call) -> v.CaptureName:
        """Into a file of a documented format (docs/reference/capture-format.md)."""
        network, id = self._api.session_of(call)
        protocol = next(one.protocol for one in self._api.view.networks() if one.name == network)
        session = self._api.view.session(network, id)
        if session is None:
            raise no_session(network, id)
        try:
            name = self._captures.begin(session, protocol, call.body.seconds)
        except CaptureRefused as refused:
            raise Problem(409, "Conflict", str(refused)) from None
        self._api.audit.note(call, "capture begun", network=network, session=id, peer=str(session.address), file=name)
        return v.CaptureName(name=name)

    def stop(self, call: Call) -> None:
        """What there is of it is kept."""
        network, id = self._api.session_of(call)
        if not self._captures.stop(network, id):
            raise Problem(404, "Not found", f"session {id} in {network} is not captured")
        peer = self._api.peer_of(network, id)
        self._api.audit.note(call, "capture ended", network=network, session=id, peer=peer)

    def all(self, call: Call) -> v.Captures:
        """The latest last."""
        return v.Captures(
            captures=[
                v.Captured(
                    name=one.name, size=one.size, running=one.running, began=one.began,
                    network=one.session[0] if one.session is not None else "",
                    session=one.session[1] if one.session is not None else None,
                )
                for one in self._captures.list()
            ]
        )  # fmt: skip

    async def file(self, call: Call) -> Reply:
        """Read off the reactor's thread."""
        path = self._captures.path(call.path["name"])
        if path is None:
            raise Problem(404, "Not found", "there is no such capture")
        try:
            data = await self._api.context.work(path.read_bytes)
        except FileNotFoundError:
            # Its capture has made room meanwhile.
            raise Problem(404, "Not found", "there is no such capture any more") from None
        self._api.audit.note(call, "capture read", file=path.name)
        headers = [("Content-Disposition", f'attachment; filename="{path.name}"')]
        return Reply(data, "application/octet-stream", headers=headers)

    def delete(self, call: Call) -> None:
        """Not one that is under way."""
        if not self._captures.delete(call.path["name"]):
            raise Problem(404, "Not found", "there is no such capture, or it is under way")
        self._api.audit.note(call, "capture deleted", file=call.path["name"])

    def page(self, call: Call) -> Made:
        """The latest first."""
        captures = self.all(call).captures[::-1]
        sessions = [one for one in self._api.view.sessions() if one.state in ("handshaking", "open")][:_PEERS]
        return self._maker.made(
            "captures.html", call, "/captures", title="Captures", captures=captures, sessions=sessions,
            total=sum(one.size for one in captures),
        )  # fmt: skip
