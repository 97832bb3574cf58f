"""Each example as a node finds it: through the registry, from the folder plugins/."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pframe.registry import Registry
from p2pframe.testing.context import FakeContext

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example():
    """`example(kind, name)`: the class, loaded from plugins/ by a registry of the test's own."""
    registry = Registry([ROOT / "plugins"], installed=[])
    return registry.find


@pytest.fixture
def made(example):
    """`made(kind, name, context, **options)`: an instance, its options given as the YAML would."""

    def make(kind: str, name: str, context: FakeContext, /, **options: object) -> object:
        found = example(kind, name)
        return found(found.__p2pframe_plugin__.config.model_validate(options), context)

    return make
