"""A suite for each interface, and one line to put any plugin through its own::

    from p2pframe.testing.conformance import check

    def test_it_keeps_its_interface():
        check(MyRelay, {"interval": "2s"})

`check` finds the kinds of the class, holds it to the rules of every plugin (rules.py) and then to each kind's suite (a
module each). What is broken is raised as `NonConformance`, an AssertionError that names the plugin, the method, the
sentence of the interface and what was seen. It works at once, in virtual time, with or without pytest.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass

from p2pframe.interfaces import SEAMS
from p2pframe.plugin import PluginConfig
from p2pframe.testing.conformance import rules
from p2pframe.testing.conformance.bench import Bench, NonConformance
from p2pframe.testing.conformance.hashing import under_two_hash_seeds

__all__ = ["Bench", "NonConformance", "check", "interfaces_of"]


def check(
    cls: type[Any],
    config: Mapping[str, object] | PluginConfig | None = None,
    *,
    hash_seeds: bool = False,
    **options: Any,
) -> str:
    """Raise `NonConformance` where a plugin class does not keep the interfaces of its kinds.

    `config` holds its options as the YAML would (or is its config, ready made). `options` are for the suites: every
    suite takes `services` (a mapping of interfaces to providers, or a function that makes one from a context) over the
    stand-ins for core's own; what else a suite takes, its module says. With `hash_seeds` the run is repeated in two
    processes of different PYTHONHASHSEED, which must leave the same trace: the class, and the functions among the
    options, must then be importable or stand at the top of a file.

    Returns the hash of what the run did. Raises TypeError for an option that no suite of the plugin takes.
    """
    found = interfaces_of(cls)
    trace = ""
    unread = set(options)
    for kind, interface in found:
        suite = importlib.import_module(f"{__name__}.{kind.replace('-', '_')}").suite
        bench = Bench(cls, interface, kind, config, options)
        with rules.nothing_touched(bench):
            try:
                rules.check(bench)
                suite(bench)
            finally:
                bench.close()
        unread &= bench.unread()
        trace += bench.trace
    if unread:
        kinds = ", ".join(kind for kind, _ in found)
        raise TypeError(f"{cls.__qualname__}: no suite of {kinds} takes {', '.join(sorted(unread))}")
    if hash_seeds:
        under_two_hash_seeds(cls, config, options)
    return trace


def interfaces_of(cls: type[Any]) -> list[tuple[str, InterfaceClass]]:
    """The seams that a class implements, with their kinds; the kind of its `@plugin` first.

    Raises `NonConformance` for a class that is no plugin.
    """
    spec = cls.__dict__.get("__p2pframe_plugin__")
    if spec is None:
        raise NonConformance(
            f"{cls.__module__}.{cls.__qualname__}",
            "@plugin",
            "a plugin is a class, a name, a config model and a summary",
            "the class has no @plugin of its own",
        )
    implemented = implementedBy(cls)
    found = [(kind, seam) for kind, seams in SEAMS.items() for seam in seams if implemented.isOrExtends(seam)]
    return sorted(found, key=lambda pair: pair[0] != spec.kind)
