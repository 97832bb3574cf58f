"""What differs between two configurations, and what it takes to apply it."""

from __future__ import annotations

import textwrap

import pytest

from p2pframe.config import Effect, diff

from .conftest import GOOD

LIVE = textwrap.dedent("""\
    from zope.interface import implementer
    from p2pframe.interfaces import IDiscovery, IReconfigurable
    from p2pframe.plugin import Duration, Field, PluginConfig, live, plugin

    class Config(PluginConfig):
        interval: Duration = live(1.0, description="Interval.")
        name: str = Field("", description="Name.")

    @plugin("patient", config=Config)
    @implementer(IDiscovery, IReconfigurable)
    class Patient:
        '''Waits.'''
        def due(self, state): ...
        def find(self, limit): ...
        def announce(self, addresses): ...
        def withdraw(self): ...
        def reconfigure(self, config): ...
    """)


def changes(folder, old, new):
    return diff(folder.load(old), folder.load(new))


def test_the_same_text_differs_in_nothing(folder):
    found = changes(folder, GOOD, GOOD + "# a comment\n")
    assert not found
    assert found.networks["main"].effect is Effect.NOTHING


@pytest.mark.parametrize(
    ("line", "effect", "words"),
    [
        ("limits: {tick: 3s}", Effect.LIVE, "networks.main.limits.tick: 2.0 -> 3.0"),
        ("relay: {plugin: lazy}", Effect.RESTART, "networks.main.relay: inventory -> lazy"),
        ("scoring: [{plugin: behaviour}]", Effect.RESTART, "networks.main.scoring: weighted, behaviour -> behaviour"),
        ("discovery: [{plugin: static}]", Effect.RESTART, "networks.main.discovery: none -> static"),
        ("item_stores: {tx: {plugin: forgetful}}", Effect.RESTART, "networks.main.item_stores.tx: none -> forgetful"),
        # A live field of a class that can't be reconfigured.
        ("topology: {plugin: random, outbound: 9}", Effect.RESTART, "networks.main.topology.outbound: 8 -> 9"),
        ("topology: {plugin: random}", Effect.NOTHING, ""),
    ],
)
def test_a_change_in_a_network(folder, line, effect, words):
    found = changes(folder, GOOD, GOOD + f"    {line}\n")
    assert found.networks["main"].effect is effect
    assert found.words() == ([words] if words else [])


@pytest.mark.parametrize(
    ("options", "effect"),
    [("interval: 2s", Effect.LIVE), ("name: x", Effect.RESTART), ("interval: 2s, name: x", Effect.RESTART)],
)
def test_live_fields_of_a_reconfigurable_plugin(folder, options, effect):
    folder.write(LIVE, "plugins/patient.py")
    old = GOOD + "    discovery: [{plugin: patient}]\n"
    new = GOOD + f"    discovery: [{{plugin: patient, {options}}}]\n"
    assert changes(folder, old, new).networks["main"].effect is effect


def test_an_edited_plugin_file_takes_a_restart(folder):
    folder.write(LIVE, "plugins/patient.py")
    text = GOOD + "    discovery: [{plugin: patient}]\n"
    old = folder.load(text)
    assert not diff(old, folder.load(text))
    folder.write(LIVE.replace("Waits.", "Waits a while."), "plugins/patient.py")
    assert diff(old, folder.load(text)).networks["main"].effect is Effect.RESTART


def test_the_node_the_storage_and_the_applications(folder):
    old = GOOD + "applications: [{plugin: miner, network: main}]\n"
    new = old.replace("  plugin_path", "  log_level: debug\n  plugin_path")
    assert changes(folder, old, new).node.effect is Effect.LIVE
    assert (
        changes(folder, old, old.replace("  plugin_path", "  data_dir: x\n  plugin_path")).node.effect is Effect.RESTART
    )
    assert changes(folder, old, old + "storage: {plugin: sqlite, file: x}\n").storage.effect is Effect.RESTART
    assert changes(folder, old, GOOD).applications.effect is Effect.RESTART


def test_networks_come_and_go(folder):
    other = GOOD.split("networks:\n")[1].replace("main", "other").replace("18444", "18445")
    found = changes(folder, GOOD, GOOD + other)
    assert (found.added, found.removed) == (("other",), ())
    found = changes(folder, GOOD + other, GOOD)
    assert (found.added, found.removed) == ((), ("other",))
    assert bool(found)
    assert found.words() == ["networks.other: gone"]
