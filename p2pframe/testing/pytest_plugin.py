"""The fixture `simulation` for pytest: whole nodes in virtual time, in the tests of anyone who writes a plugin.

pytest finds it by the entry point `pytest11`, in every project of an environment where p2pframe is installed, and so
imports nothing else of p2pframe before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from p2pframe.testing.simulation import NodeSimulation

MARKER = (
    "simulation(seed=0, links=None): of the fixture `simulation`: its seed, and its links as in a scenario file"
    " (a mapping)"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def simulation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NodeSimulation]:
    """Hosts, links and nodes in virtual time: see p2pframe.testing.simulation.NodeSimulation.

    At the end every node is stopped; what was logged as a failure, and a node that did not start or stop, fails the
    test: `simulation.logged.flush(SomeError)` takes out what is expected.
    """
    from p2pframe.sim.links import LinksConfig
    from p2pframe.testing.logged import LoggedFailures
    from p2pframe.testing.simulation import NodeSimulation

    marker = request.node.get_closest_marker("simulation")
    options = dict(marker.kwargs) if marker is not None else {}
    links = LinksConfig.model_validate(options.pop("links", None) or {})
    with LoggedFailures() as logged:
        made = NodeSimulation(tmp_path, links=links, **options)
        made.logged = logged
        try:
            yield made
            made.stop()
        finally:
            made.close()
        complaints = made.complaints()
        if complaints:
            pytest.fail("\n".join(complaints), pytrace=False)
        logged.check()
