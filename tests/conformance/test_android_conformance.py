"""The ONNX project's own node tests through the android target."""

from __future__ import annotations

import re
from collections import Counter

import onnx
import pytest
from node_tests.document import document, page_of
from node_tests.evaluate import Result, evaluate
from node_tests.selection import cases

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return evaluate([case.name for case in cases()])


@pytest.mark.timeout(1800)
def test_no_case_is_wrong_and_none_crashes(results: list[Result]) -> None:
    bad = [r for r in results if r.verdict in ("wrong", "crash")]
    assert not bad, "\n".join(f"{r.name}: {r.verdict}: {r.reason}" for r in bad)


def test_nine_of_ten_cases_pass(results: list[Result]) -> None:
    count = Counter(result.verdict for result in results)
    assert count["pass"] >= 0.9 * len(results), count


def test_each_refusal_says_why(results: list[Result]) -> None:
    assert not [r.name for r in results if r.verdict == "refused" and len(r.reason) < 10]


def test_the_table_in_the_docs_is_that_of_this_run(results: list[Result]) -> None:
    written = page_of("android").read_text(encoding="utf-8")
    made_with = re.search(r"\(onnx ([\d.]+)\)", written)
    if made_with is None or made_with[1] != onnx.__version__:
        pytest.skip("the table was made with another onnx, whose tests differ")
    assert written == document(results)
