"""How these tests name what they put through a suite: `conforms(kind, name, config, **options)`, one line a plugin.

test_all_covered.py reads those lines from the text, so kind and name stand there as words.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pframe.registry import Registry
from p2pframe.testing.conformance import check

ROOT = Path(__file__).parents[3]
REGISTRY = Registry([ROOT / "plugins"])


@pytest.fixture
def found():
    """`found(kind, name)`: a class, built in or from plugins/, as a node would find it."""
    return REGISTRY.find


@pytest.fixture
def conforms():
    """`conforms(kind, name, config, **options)`: it passes the suites of its kinds."""

    def conforms(kind: str, name: str, config=None, **options):
        return check(REGISTRY.find(kind, name), config, **options)

    return conforms
