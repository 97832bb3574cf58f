"""An admin for each test, ended after it."""

import pytest_twisted

from tests.admin.web import World


@pytest_twisted.async_yield_fixture
async def web(tmp_path):
    world = await World(tmp_path).start()
    yield world
    await world.stop()


@pytest_twisted.async_yield_fixture
async def webs(tmp_path):
    """`await webs(**options)` makes one with other options."""
    made = []

    async def make(**options):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(World(folder, **options))
        return await made[-1].start()

    yield make
    for world in made:
        await world.stop()
