"""Where the admin is, written down for `p2pframe admin link`, for as long as it is there."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.error import ConnectionRefusedError


@pytest_twisted.ensureDeferred
async def test_its_address_is_written_down_while_it_runs(webs):
    web = await webs()
    address = web.context.data_dir / "url"
    assert address.read_text() == f"http://{web.host}"
    await web.stop()
    assert not address.exists()


@pytest_twisted.ensureDeferred
async def test_it_stops_also_where_its_address_can_not_be_removed(webs):
    web = await webs()
    address = web.context.data_dir / "url"
    address.unlink()
    address.mkdir()
    await web.stop()
    with pytest.raises(ConnectionRefusedError):
        await web.connect()
