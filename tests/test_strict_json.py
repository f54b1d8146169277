"""What is no number is null."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from photorank.strict_json import dumps

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@given(VALUES)
def test_every_reader_takes_it_and_finite_values_come_back(value: object) -> None:
    def wanted(each: object) -> object:
        if isinstance(each, dict):
            return {name: wanted(inner) for name, inner in each.items()}
        if isinstance(each, list):
            return [wanted(inner) for inner in each]
        return None if isinstance(each, float) and each - each != 0 else each

    assert json.loads(dumps(value), parse_constant=refuse) == wanted(value)


def test_tuples_and_paths() -> None:
    assert json.loads(dumps({"at": Path("a"), "pair": (1, float("nan"))})) == {"at": "a", "pair": [1, None]}
