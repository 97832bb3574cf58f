"""The message inspector: what a peer says and is told, decoded and as bytes; for operators alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from p2pframe.admin import values_inspector as v
from p2pframe.admin.access import Role
from p2pframe.admin.api import V1, Api, no_session
from p2pframe.admin.inspecting import Inspection, Inspections, InspectRefused, Seen
from p2pframe.admin.rendering import Made
from p2pframe.admin.routes import Call, Problem, Reply, Route
from p2pframe.admin.section import Maker
from p2pframe.admin.slices import Slices
from p2pframe.capture_file import Record, encode_head, encode_record
from p2pframe.model import SessionId, SessionSnapshot

HEX = 1024
"""Bytes of a message that the API tells in a list; all of it is a download."""
DUMP = 4096
"""Bytes of a message that the page shows."""
LISTED = 100
"""Messages that the page shows at once."""
_WIDTH = 16


class Inspector:
    """Sessions that are looked into."""

    def __init__(self, api: Api, maker: Maker, inspections: Inspections) -> None:
        self._api = api
        self._maker = maker
        self._inspections = inspections

    def routes(self) -> Sequence[Route]:
        """See `Section.routes`. Where two fit, the first is meant."""
        operator = Role.OPERATOR
        path = V1 + "/peers/{network}/{id}/inspect"
        binary = "application/octet-stream"
        return [
            Route("GET", V1 + "/inspections", operator, "The sessions that are inspected.", self.all,
                  answer=v.Inspections),
            Route("POST", path, operator, "Inspect a session: keep its last messages for who looks on.", self.begin,
                  answer=v.Inspecting, refusals=(404, 409)),
            Route("GET", path, operator, "Messages of an inspected session.", self.messages, v.InspectedQuery,
                  answer=v.Inspected, refusals=(404,)),
            Route("POST", path + "/stop", operator, "Inspect no longer, and forget what was seen.", self.stop,
                  status=204, refusals=(404,)),
            Route("GET", path + "/lines", operator, "All messages that are kept, a line of JSON each.", self.lines,
                  v.FilterQuery, content_type="application/x-ndjson", refusals=(404,)),
            Route("GET", path + "/capture", operator, "All messages that are kept, as a capture.", self.capture,
                  v.FilterQuery, content_type=binary, refusals=(404,)),
            Route("GET", path + "/{number}", operator, "A message as it is, byte by byte.", self.raw,
                  content_type=binary, refusals=(404,)),
            self._maker.page("/peers/{network}/{id}/messages", "What a peer says and is told.", self.page,
                             v.PageOfMessagesQuery, operator),
        ]  # fmt: skip

    def all(self, call: Call) -> v.Inspections:
        """Of all networks."""
        return v.Inspections(inspections=[_inspecting(one) for one in self._inspections.all()])

    def begin(self, call: Call) -> v.Inspecting:
        """It ends by itself when nobody has asked for it for a while."""
        network, id = self._api.session_of(call)
        protocol = next(one.protocol for one in self._api.view.networks() if one.name == network)
        session = self._api.view.session(network, id)
        if session is None:
            raise no_session(network, id)
        try:
            found = self._inspections.begin(session, protocol)
        except InspectRefused as refused:
            raise Problem(409, "Conflict", str(refused)) from None
        self._api.audit.note(call, "inspected", network=network, session=id, peer=str(session.address))
        return _inspecting(found)

    def stop(self, call: Call) -> None:
        """Nothing of it is left."""
        network, id = self._api.session_of(call)
        if not self._inspections.stop(network, id):
            raise _nobody(network, id)
        peer = self._api.peer_of(network, id)
        self._api.audit.note(call, "inspected no longer", network=network, session=id, peer=peer)

    async def messages(self, call: Call) -> v.Inspected:
        """Oldest first, so that who asks again and again sees each."""
        found, query = self._find(call), call.query
        page = await self._select(found, query, query.after, query.limit + 1)
        more = page[query.limit - 1].number if len(page) > query.limit else None
        return v.Inspected(
            inspecting=_inspecting(found), messages=[_seen(one, HEX) for one in page[: query.limit]], next=more
        )

    def raw(self, call: Call) -> Reply:
        """With its frame."""
        found, text = self._find(call), call.path["number"]
        seen = found.find(int(text)) if text.isascii() and text.isdigit() and len(text) < 16 else None
        if seen is None:
            raise Problem(404, "Not found", "there is no such message, or it is kept no longer")
        self._api.audit.note(
            call, "message read", network=found.session.network, session=found.session.id,
            peer=str(found.session.address), number=text,
        )  # fmt: skip
        return _file(seen.message.raw, _name(found, f"-{seen.number}.bin"), "application/octet-stream")

    async def lines(self, call: Call) -> Reply:
        """Made off the reactor's thread: of what there is now, which does not change any more."""
        found = self._find(call)
        chosen = await self._select(found, call.query)
        self._noted(call, found)
        body = await self._api.context.work(lambda: b"".join(_line(one) for one in chosen))
        return _file(body, _name(found, ".jsonl"), "application/x-ndjson")

    async def capture(self, call: Call) -> Reply:
        """A record for each message; what they were read with is not known any more."""
        found = self._find(call)
        chosen = await self._select(found, call.query)
        self._noted(call, found)
        session = found.session
        head = encode_head({
            "network": session.network, "address": str(session.address), "transport": session.transport,
            "protocol": found.protocol, "agent": session.agent, "began": found.began, "slot": session.slot.value,
            "heard": sum(session.messages_in.values()),
        })  # fmt: skip
        body = await self._api.context.work(
            lambda: head + b"".join(encode_record(Record(one.seconds, one.way, one.message.raw)) for one in chosen)
        )
        return _file(body, _name(found, ".p2pcap"), "application/octet-stream")

    def page(self, call: Call) -> Made:
        """The latest first; where nobody inspects the peer, how to begin."""
        network, id = self._api.session_of(call)
        found = self._inspections.find(network, id)
        session = self._api.view.session(network, id)
        if found is None and session is None:
            raise no_session(network, id)
        return Made(self._pieces(call, found, session))

    def _pieces(self, call: Call, found: Inspection | None, session: SessionSnapshot | None) -> Iterator[str]:
        """The page, and before it an empty piece for each message that is looked at."""
        query = call.query
        listed: list[v.SeenMessage] = []
        older = 0
        kinds: list[str] = []
        chosen = None
        if found is not None:
            for one in found.select(query.way, query.type, query.text, before=query.before, newest=True):
                yield ""
                if one is not None and len(listed) == LISTED:
                    older = listed[-1].number
                    break
                if one is not None:
                    listed.append(_seen(one, 0))
            kinds = sorted({one.message.name for one in list(found.kept) if one.message.name})
            chosen = found.find(query.message) if query.message else None
        shown = found.session if found is not None else session
        assert shown is not None
        yield from self._maker.made(
            "inspected.html", call, "/peers", title=str(shown.address), network=shown.network, id=int(shown.id),
            there=session is not None, inspecting=_inspecting(found) if found is not None else None, messages=listed,
            older=older, kinds=kinds, query=query, asked=query.message,
            chosen=_seen(chosen, 0) if chosen is not None else None,
            dump=list(_dump(chosen.message.raw[:DUMP])) if chosen is not None else [], most=DUMP,
        ).pieces  # fmt: skip

    def _find(self, call: Call) -> Inspection:
        network, id = self._api.session_of(call)
        found = self._inspections.find(network, id)
        if found is None:
            raise _nobody(network, id)
        return found

    async def _select(
        self, found: Inspection, query: v.FilterQuery, after: int = 0, most: int | None = None
    ) -> list[Seen]:
        """The first that fit, looked for over as many turns of the reactor as that takes."""
        slices = Slices(self._api.context.reactor)
        fit: list[Seen] = []
        for one in found.select(query.way, query.type, query.text, after):
            if one is not None:
                fit.append(one)
                if len(fit) == most:
                    break
            if slices.over:
                await slices.next_turn()
        return fit

    def _noted(self, call: Call, found: Inspection) -> None:
        self._api.audit.note(
            call, "messages read", network=found.session.network, session=found.session.id,
            peer=str(found.session.address),
        )  # fmt: skip


def _nobody(network: str, id: SessionId) -> Problem:
    return Problem(404, "Not found", f"session {id} in {network} is not inspected")


def _inspecting(one: Inspection) -> v.Inspecting:
    return v.Inspecting(
        network=one.session.network, id=one.session.id, address=str(one.session.address), protocol=one.protocol,
        began=one.began, running=one.running, decoded=one.decoded, kept=len(one.kept), bytes=one.size,
        dropped=one.dropped, latest=one.latest,
    )  # fmt: skip


def _seen(one: Seen, most: int) -> v.SeenMessage:
    message = one.message
    return v.SeenMessage(
        number=one.number, time=one.time, seconds=one.seconds, way="in" if one.way == "in" else "out",
        type=message.name, size=len(message.raw), error=message.error, fields=dict(message.fields),
        hex=message.raw[:most].hex(), cut=len(message.raw) > most,
    )  # fmt: skip


def _line(one: Seen) -> bytes:
    return json.dumps(_seen(one, len(one.message.raw)).model_dump(exclude={"cut"})).encode() + b"\n"


def _dump(raw: bytes) -> Iterator[str]:
    """Offset, bytes in hex, and those that are ASCII as that."""
    for at in range(0, len(raw), _WIDTH):
        part = raw[at : at + _WIDTH]
        left, right = part[:8].hex(" "), part[8:].hex(" ")
        signs = "".join(chr(sign) if 32 <= sign < 127 else "." for sign in part)
        yield f"{at:06x}  {left:23}  {right:23}  {signs}"


def _name(found: Inspection, end: str) -> str:
    # Of a network's name nothing but what is safe in a header.
    label = re.sub(r"[^a-z0-9]+", "-", found.session.network.lower())
    return f"{label}-{found.session.id}{end}"


def _file(body: bytes, name: str, content_type: str) -> Reply:
    return Reply(body, content_type, headers=[("Content-Disposition", f'attachment; filename="{name}"')])
