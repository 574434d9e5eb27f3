"""The ONNX project's own node tests through the apple target."""

from __future__ import annotations

import pytest
from node_tests.checks import (
    assert_none_is_wrong,
    assert_page_is_that_of,
    assert_refusals_say_why,
    assert_share_passes,
    results_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TARGET = "apple"


def test_no_case_is_wrong_and_none_crashes() -> None:
    assert_none_is_wrong(results_of(TARGET))


def test_four_of_five_cases_pass() -> None:
    assert_share_passes(results_of(TARGET), 0.8)


def test_each_refusal_says_why() -> None:
    assert_refusals_say_why(results_of(TARGET))


def test_the_table_in_the_docs_is_that_of_this_run() -> None:
    assert_page_is_that_of(results_of(TARGET), TARGET)
