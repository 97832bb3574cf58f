"""One scenario under every plugin of every seam: by changing the YAML alone, and nothing of what peers see changes."""

from __future__ import annotations

import os
import secrets

import pytest

ALICE, BOB, CAROL = "192.0.2.1", "198.51.100.1", "203.0.113.1"

TRANSPORTS = ["{plugin: tcp, listen: ['0.0.0.0:7777']}", "{plugin: tls, listen: ['0.0.0.0:7777']}"]
PSK = "{plugin: psk, key_file: ./team.key}"
UPGRADES = ["[]", f"[{PSK}]", f"[{PSK}, {PSK}]"]
RELAYS = ["flood", "inventory", "lazy-flood"]
TOPOLOGIES = ["random", "near"]
STORAGES = ["memory", "sqlite", "journal"]
SCORING = [
    "[]",
    "[{plugin: weighted}, {plugin: behaviour}]",
    "[{plugin: behaviour}, {plugin: weighted, dry_run: true}, {plugin: latency, dry_run: true}]",
]
AGENT = "{plugin: agent, only: ['p2pframe*']}"
AUTHENTICATION = ["[]", f"[{{plugin: version, minimum: 1}}, {AGENT}, {{plugin: office-hours, hours: ['20:00-23:59']}}]"]
VALIDATORS = ["[]", "[{plugin: quota, items: 1000}]"]
STORES = ["{}", "{line: {plugin: recent}}"]
FIRST = (
    TRANSPORTS[0],
    UPGRADES[0],
    RELAYS[0],
    TOPOLOGIES[0],
    STORAGES[0],
    SCORING[0],
    AUTHENTICATION[0],
    VALIDATORS[0],
    STORES[0],
)
SEAMS = (TRANSPORTS, UPGRADES, RELAYS, TOPOLOGIES, STORAGES, SCORING, AUTHENTICATION, VALIDATORS, STORES)


def choices():
    """Each plugin in the place of the first of its seam, then all the last and all the middle ones together."""
    yield FIRST
    for index, seam in enumerate(SEAMS):
        for other in seam[1:]:
            yield (*FIRST[:index], other, *FIRST[index + 1 :])
    yield tuple(seam[-1] for seam in SEAMS)
    yield tuple(seam[len(seam) // 2] for seam in SEAMS)


def name(choice):
    """What differs from the first ones."""
    differs = [one for one, first in zip(choice, FIRST, strict=True) if one != first]
    return " ".join(differs)[:70] or "the first ones"


@pytest.fixture
def start(cluster):
    def start(address, choice, peers=()):
        transport, upgrades, relay, topology, storage, scoring, authentication, validators, stores = choice
        key = cluster.folder / "team.key"
        if not key.exists():
            key.write_text(secrets.token_hex(32))
            os.chmod(key, 0o600)
        extra = (
            f"    upgrades: {upgrades}\n    relay: {{plugin: {relay}}}\n    topology: {{plugin: {topology}}}\n"
            f"    scoring: {scoring}\n    authentication: {authentication}\n    validators: {validators}\n"
            f"    item_stores: {stores}\n    limits: {{manual_retry_first: 1h, manual_retry: 1h}}"
        )
        path = cluster.config(address, peers, extra)
        text = path.read_text().replace("storage: {plugin: memory}", f"storage: {{plugin: {storage}}}")
        path.write_text(text.replace('{plugin: tcp, listen: ["0.0.0.0:7777"]}', transport))
        return cluster.start_file(address, path)

    return start


def opened(node):
    return [session for session in node.view.sessions() if session.state == "open"]


def lines_of(node):
    return node.networks["chat"].protocol.lines()


@pytest.mark.parametrize("choice", list(choices()), ids=name)
def test_lines_spread_a_bad_one_ends_its_session_and_what_is_kept_is_kept(cluster, start, choice):
    alice = start(ALICE, choice)
    bob = start(BOB, choice, (ALICE,))
    carol = start(CAROL, choice, (BOB,))
    cluster.net.run_until(lambda: len(opened(bob)) == 2 and opened(alice) and opened(carol))
    said = [f"line {number}" for number in range(30)]
    for number, text in enumerate(said):
        node = (alice, bob, carol)[number % 3]
        assert cluster.wait(node.networks["chat"].protocol.say(text)).outcome.value == "accept"
    cluster.net.run_until(lambda: all(sorted(lines_of(node)) == sorted(said) for node in (alice, bob, carol)))
    # Nobody is told twice of what he has: each node holds each line once.
    assert all(len(lines_of(node)) == 30 for node in (alice, bob, carol))
    cluster.wait(alice.control.ban("203.0.113.99", 3600.0, "kept"))
    next(iter(carol.networks["chat"].sessions.values())).write(b"LINE bad\x01line\n")
    cluster.net.run_until(lambda: any(event.kind == "session.closed" for event in bob.view.events()))
    (closed,) = [event for event in bob.view.events() if event.kind == "session.closed"]
    assert (closed.fields["reason"], closed.address.host) == ("bad-line", CAROL)
    (judged,) = [event for event in bob.view.events() if event.kind == "peer.judged"]
    assert (judged.fields["fact"], judged.fields["action"]) == ("bad-line", "disconnect")
    assert opened(alice) and "bad\x01line" not in lines_of(bob) + lines_of(alice)
    plugin_errors = alice.metrics.snapshot().get("p2pframe_plugin_errors_total", {})
    assert sum(plugin_errors.values()) == 0
    cluster.stop()
    again = start(ALICE, choice)
    assert [penalty.subject for penalty in again.view.penalties()] == (
        [] if choice[4] == "memory" else ["203.0.113.99"]
    )
