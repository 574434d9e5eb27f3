"""What the run of the whole suite through a target is held to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

import onnx
import pytest

from node_tests.document import document, page_of
from node_tests.evaluate import Result, evaluate
from node_tests.selection import cases


@cache
def results_of(target: str) -> tuple[Result, ...]:
    """Every selected case, run once per session."""
    return tuple(evaluate([case.name for case in cases(target)], target))


def assert_none_is_wrong(results: Sequence[Result]) -> None:
    bad = [r for r in results if r.verdict in ("wrong", "crash")]
    assert not bad, "\n".join(f"{r.name}: {r.verdict}: {r.reason}" for r in bad)


def assert_share_passes(results: Sequence[Result], share: float) -> None:
    count = Counter(result.verdict for result in results)
    assert count["pass"] >= share * len(results), count


def assert_refusals_say_why(results: Sequence[Result]) -> None:
    assert not [r.name for r in results if r.verdict == "refused" and len(r.reason) < 10]


def assert_page_is_that_of(results: Sequence[Result], target: str) -> None:
    """The page in the documentation, if it was made with the onnx that is installed."""
    written = page_of(target).read_text(encoding="utf-8")
    made_with = re.search(r"\(onnx ([\d.]+)\)", written)
    if made_with is None or made_with[1] != onnx.__version__:
        pytest.skip("the table was made with another onnx, whose tests differ")
    assert written == document(results, target), f"run tests/conformance/table.py for {target}"
