"""Bodies that say nearly what is described."""

import pytest
import pytest_twisted


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("peers/net/1/protect", {"protected": "no"}), ("peers/net/1/protect", {"protected": 0}),
        ("peers/net/1/capture", {"seconds": "600"}), ("peers/net/1/capture", {"seconds": True}),
        ("bans", {"subject": "192.0.2.9", "duration": "60", "reason": "x"}),
        ("bans", {"subject": 9, "duration": 60, "reason": "x"}), ("config/rollback", {"number": "1"}),
        ("config/check", {"values": [["a", 1]]}),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_value_of_another_type_is_refused_and_nothing_is_done(web, path, body):
    done = list(web.control.calls)
    answer = await web.ask("POST", f"/api/v1/{path}", body=body, **web.operator)
    assert answer.status == 422, answer
    assert web.control.calls == done


@pytest_twisted.ensureDeferred
async def test_whole_numbers_are_numbers(web):
    body = {"subject": "192.0.2.9", "duration": 60, "reason": "x"}
    assert (await web.ask("POST", "/api/v1/bans", body=body, **web.operator)).status == 204
