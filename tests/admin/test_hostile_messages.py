"""What an inspector makes of a peer's bytes is answered as JSON that anybody can read, whatever it is."""

import json

from hypothesis import given
from hypothesis import strategies as st

from p2pframe.admin.inspecting import Seen, bounded
from p2pframe.admin.inspector import _line, _seen
from p2pframe.interfaces import InspectedMessage

TEXT = st.text(st.characters(), max_size=5)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=12,
)  # fmt: skip


def no_number(text):
    raise AssertionError(f"{text} is no JSON")


@given(st.dictionaries(TEXT, ANY, max_size=4), TEXT)
def test_every_field_is_plain_json(fields, name):
    seen = Seen(1, 0.0, 0.0, "in", bounded(InspectedMessage(name, b"raw", fields)), 1)
    for text in (_line(seen), _seen(seen, 100).encoded()):
        assert json.loads(text, parse_constant=no_number)["number"] == 1
