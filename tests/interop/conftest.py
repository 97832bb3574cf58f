"""What the interop tests share: processes that end with the test, and the configurations that they run under."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import Bcoin, P2PNode, node_modules

MakeNode = Callable[..., P2PNode]
MakeBcoin = Callable[..., Bcoin]


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Whatever is entered here is ended with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def p2pnode(processes: ExitStack, tmp_path: Path) -> MakeNode:
    """`p2pnode(config, name="ours")`: a node that is not started yet."""

    def make(config: Mapping[str, Any], name: str = "ours") -> P2PNode:
        return processes.enter_context(P2PNode(name, tmp_path, config))

    return make


@pytest.fixture
def bcoin(processes: ExitStack, tmp_path: Path) -> MakeBcoin:
    """`bcoin(name, only)`: a bcoin node that is not started yet and knows only these addresses."""
    node_modules()

    def make(name: str, only: Sequence[str] = (), **options: int) -> Bcoin:
        return processes.enter_context(Bcoin(name, tmp_path, only, **options))

    return make
