"""Numbers in addresses: every page and route takes those that make sense, and says of the others that they don't."""

from __future__ import annotations

import typing

import pytest
import pytest_twisted

from tests.admin.web import OPERATOR, example


def numbers(route):
    """The fields of a route's query that are whole numbers."""
    return [
        name
        for name, field in (route.query.model_fields if route.query is not None else {}).items()
        if int in (field.annotation, *typing.get_args(field.annotation))
    ]


@pytest.mark.parametrize("number", [0, -1, 10**20])
@pytest_twisted.ensureDeferred
async def test_no_number_in_a_query_breaks_a_page_or_a_route(web, number):
    asked = 0
    for route in web.routes:
        if route.path.endswith("/stream"):
            continue
        for name in numbers(route):
            path, _ = example(route)
            answer = await web.ask(route.method, f"{path}?{name}={number}", authorization=f"Bearer {OPERATOR}")
            assert answer.status < 500, (route.path, name)
            # How many are wanted is bounded on both sides, on pages too.
            assert name != "limit" or answer.status in (400, 422), (route.path, answer.status)
            asked += 1
    assert asked > 10
