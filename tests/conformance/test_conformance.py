"""The ONNX project's own node tests through every target."""

from __future__ import annotations

import pytest
from node_tests.checks import (
    assert_none_is_wrong,
    assert_page_is_that_of,
    assert_refusals_say_why,
    assert_share_passes,
    results_of,
)

#: target -> the least share of cases that pass
SHARES = {"android": 0.9, "apple": 0.8, "arm": 0.95}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.parametrize("target", SHARES),
]


def test_no_case_is_wrong_and_none_crashes(target: str) -> None:
    assert_none_is_wrong(results_of(target))


def test_most_cases_pass(target: str) -> None:
    assert_share_passes(results_of(target), SHARES[target])


def test_each_refusal_says_why(target: str) -> None:
    assert_refusals_say_why(results_of(target))


def test_the_table_in_the_docs_is_that_of_this_run(target: str) -> None:
    assert_page_is_that_of(results_of(target), target)
