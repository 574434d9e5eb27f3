"""The results of a run as a page of the documentation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import onnx

from node_tests.evaluate import Result

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operators-android.md"
_COLUMNS = ("pass", "refused", "wrong", "crash")


def document(results: Sequence[Result]) -> str:
    """The page as Markdown; the same results give the same bytes."""
    by_operator: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_operator[result.operator].append(result)
    total = Counter(result.verdict for result in results)
    share = 100 * total["pass"] / len(results)
    lines = [
        "# ONNX operators on Android",
        "",
        "Made by `python tests/conformance/table.py --write` from the ONNX project's own node",
        f"tests (onnx {onnx.__version__}): models of one node whose tensors are float32, int32,",
        "int64, int8, uint8 or bool, without training, random numbers, sequences, strings and",
        "decoding of images. Weights, axes, shapes and the like are constants. Each is emitted as",
        "fp32, run in LiteRT, and compared with the expected output (relative 1e-3, absolute 1e-5;",
        "integers exactly).",
        "",
        f"**{len(results)} cases over {len(by_operator)} operators: {total['pass']} pass "
        f"({share:.1f} %), {total['refused']} refused with a reason, {total['wrong']} wrong, "
        f"{total['crash']} crashed.**",
        "",
        "| Operator | Cases | Pass | Refused | Wrong | Crash | Why refused |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for operator, found in sorted(by_operator.items()):
        count = Counter(result.verdict for result in found)
        reasons = "; ".join(dict.fromkeys(r.reason for r in found if r.verdict == "refused"))
        numbers = " | ".join(str(count[verdict]) for verdict in _COLUMNS)
        lines.append(f"| {operator} | {len(found)} | {numbers} | {reasons.replace('|', '/')} |")
    return "\n".join(lines) + "\n"
