"""The fewest layers in float, and the contracts that can be had instead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewise.calibration import Recipe
from edgewise.search.ladder import fewest
from edgewise.search.result import nearest_contracts
from edgewise.search.trial import Score, Trial


def never() -> bool:
    return False


@given(most=st.integers(0, 200), data=st.data())
def test_the_smallest_count_that_keeps_is_found_with_few_tries(most: int, data: st.DataObject):
    least = data.draw(st.integers(1, most + 1))
    tried: list[int] = []

    def keeps(count: int) -> bool:
        tried.append(count)
        return count >= least

    assert fewest(keeps, most, never) == (least if least <= most else None)
    assert len(tried) == len(set(tried)) <= 2 * max(most, 1).bit_length()
    assert all(1 <= count <= most for count in tried)


def test_what_was_found_before_time_was_over_counts():
    left = iter([False] * 4 + [True] * 9)
    assert fewest(lambda count: count >= 5, 100, lambda: next(left)) == 8
    assert fewest(lambda count: True, 100, lambda: True) is None


def trial(step: str, drop: float | None, *nodes: str) -> Trial:
    score = None if drop is None else Score(0.9 - drop, drop, None)
    return Trial(step, Recipe(float_nodes=frozenset(nodes)), qdq=score)


def test_each_contract_costs_more_and_drops_less():
    trials = [
        trial("plain", 0.03),
        trial("ranked only", None),
        trial("entropy", 0.02),
        trial("one", 0.021, "a"),
        trial("two", 0.01, "a", "b"),
        trial("three", 0.01, "a", "b", "c"),
    ]
    found = [(one.accuracy_drop, one.step, one.float_nodes) for one in nearest_contracts(trials)]
    assert found == [(0.02, "entropy", 0), (0.01, "two", 2)]


def test_the_file_counts_where_it_drops_more_than_its_model():
    one = Trial("x", Recipe(), qdq=Score(0.9, 0.0, None), artifact=Score(0.88, 0.02, None))
    assert one.drop == 0.02
    assert [found.accuracy_drop for found in nearest_contracts([one])] == [0.02]
