"""What core shows, as the values that the API answers."""

from __future__ import annotations

from collections.abc import Mapping

from p2pframe.admin import values
from p2pframe.admin.alerts import Held, Over
from p2pframe.interfaces.admin import PageTable
from p2pframe.interfaces.node import Event, NetworkView, PluginView, SettingView
from p2pframe.model import Penalty, Score, SessionSnapshot

TABLES, ROWS, TEXT = 20, 1000, 1000
"""Tables of a plugin's page, rows of each, and characters of a text in it."""
VALUES, NAME = 20, 100
"""Values of a plugin's card, and characters of the name of one."""


def network(one: NetworkView) -> values.Network:
    """A network at a glance, with what its sources found and what the book has of them."""
    sources = {}
    for name, status in one.discovery.items():
        sources[name] = values.Source(
            name=name, found=status.found, new=status.new, failures=status.failures, error=status.error,
            next_try=status.next_try, held=0, tried=0, last_success=status.last_success, looks=status.looks,
            failed=status.failed,
        )  # fmt: skip
    for name, holds in one.sources.items():
        known = sources.get(name) or values.Source(
            name=name, found=0, new=0, failures=0, error="", next_try=0.0, held=0, tried=0, last_success=0.0, looks=0,
            failed=0,
        )  # fmt: skip
        sources[name] = known.model_copy(update={"held": holds.held, "tried": holds.tried})
    return values.Network(
        name=one.name, protocol=one.protocol, listening=list(one.listening),
        slots={
            slot.name.lower(): values.SlotUse(used=used, allowed=allowed) for slot, (used, allowed) in one.slots.items()
        },
        addresses=dict(one.book), status=dict(one.status), messages=dict(one.messages), sources=list(sources.values()),
        rate_in=one.rate_in, rate_out=one.rate_out,
    )  # fmt: skip


def peer(one: SessionSnapshot, now: float) -> values.Peer:
    """A session; `now` is seconds of the reactor's clock."""
    useful = max(one.last_item, one.last_block)
    return values.Peer(
        network=one.network, id=one.id, address=str(one.address), netgroup=one.netgroup, slot=one.slot.name.lower(),
        inbound=one.inbound, state=one.state, transport=one.transport, encryption=one.encryption, agent=one.agent,
        version=one.version, services=sorted(one.services), age=now - one.started,
        quiet=now - (one.last_receive or one.started), sent=now - one.last_send if one.last_send else None,
        block=now - one.last_block if one.last_block else None, useless=now - one.last_item if one.last_item else None,
        ping=one.ping, best_ping=one.best_ping, bytes_in=one.bytes_in, bytes_out=one.bytes_out,
        messages_in=dict(one.messages_in), messages_out=dict(one.messages_out), accepted_items=one.accepted_items,
        rejected_items=one.rejected_items, timeouts=one.timeouts, send_queue=one.send_queue, score=one.score,
        protected=one.protected, rate_in=one.rate_in, rate_out=one.rate_out, message_rate_in=one.message_rate_in,
        message_rate_out=one.message_rate_out, errors=one.errors, useful=one.useful,
        last_useful=now - useful if useful else None,
    )  # fmt: skip


def penalty(one: Penalty) -> values.Penalty:
    """A ban or a discouragement."""
    return values.Penalty(
        subject=one.subject, scope=one.scope, action=one.action.name.lower(), rule=one.rule, reason=one.reason,
        evidence=one.evidence, since=one.since, until=one.until, automatic=one.automatic,
    )  # fmt: skip


def plugin(one: PluginView) -> values.Plugin:
    """A plugin."""
    return values.Plugin(
        network=one.network, label=one.label, summary=one.summary, origin=one.origin, errors=one.errors
    )  # fmt: skip


def setting(one: SettingView) -> values.Setting:
    """A value of the configuration."""
    return values.Setting(path=one.path, value=one.value, where=one.where, live=one.live, takes=one.takes)


def table(one: PageTable) -> values.PageTable:
    """A table of a plugin, as far as there is room for it."""
    return values.PageTable(
        title=_cut(one.title), text=_cut(one.text), columns=[_cut(column) for column in one.columns],
        rows=[[_cell(cell) for cell in row] for row in list(one.rows)[:ROWS]],
    )  # fmt: skip


def _cell(value: object) -> str | int | float | bool | None:
    if isinstance(value, int) and value.bit_length() > 64:
        return _cut(hex(value))  # JSON has no numbers of thousands of digits
    return value if value is None or isinstance(value, int | float | bool) else _cut(value)


def _cut(text: object) -> str:
    return str(text)[:TEXT]


def card(title: object, plugin: str, shown: Mapping[str, object]) -> values.Card:
    """A card of a plugin, as far as there is room for it."""
    some = {str(name)[:NAME]: _cell(value) for name, value in list(shown.items())[:VALUES]}
    return values.Card(title=str(title)[:NAME], plugin=plugin, values=some, error="")


def alert(one: Held, clock: float) -> values.Alert:
    """An alert that holds; `clock` is seconds of the reactor's clock."""
    of = one.alert
    return values.Alert(
        name=of.name, critical=of.critical, network=of.network, text=of.text, runbook=of.runbook,
        since=clock - one.since,
    )  # fmt: skip


def past_alert(one: Over) -> values.PastAlert:
    """An alert that held."""
    of = one.alert
    return values.PastAlert(
        name=of.name, critical=of.critical, network=of.network, text=of.text, runbook=of.runbook, began=one.began,
        ended=one.ended,
    )  # fmt: skip


def event(one: Event) -> values.Happened:
    """An event; what is no plain value is told as text."""
    return values.Happened(
        number=one.number, time=one.time, kind=one.kind, network=one.network, session=one.session,
        address=None if one.address is None else str(one.address),
        fields={name: _plain(value) for name, value in one.fields.items()},
    )  # fmt: skip


def _plain(value: object) -> object:
    if isinstance(value, tuple) and value and all(isinstance(one, Score) for one in value):
        return ", ".join(_score(one) for one in value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _score(one: Score) -> str:
    parts = ", ".join(f"{part.name} {part.value:.2f}" for part in one.parts if part.weight)
    return f"{one.scorer} {one.value:.2f}" + (f" ({parts})" if parts else "")
