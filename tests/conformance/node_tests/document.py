"""The results of a run as a page of the documentation."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import onnx

from node_tests.evaluate import Result

_DOCS = Path(__file__).resolve().parents[3] / "docs"
_COMMON = (
    "whose tensors are float32, int32, int64, int8, uint8 or bool, without training, random"
    " numbers, sequences, strings"
)
#: target -> title, option of the script, how a case is run, and what is taken
_PAGES = {
    "android": (
        "ONNX operators on Android",
        "",
        "fp32, run in LiteRT, and compared",
        _COMMON,
    ),
    "apple": (
        "ONNX operators in Core ML",
        " --target apple",
        "fp32, read back from disk, run in Edgewise's interpreter, and compared",
        _COMMON,
    ),
    "arm": (
        "ONNX operators on ARM",
        " --target arm",
        "fp32, run in ONNX Runtime, and compared",
        "whose tensors are of any type that arrays have, strings among them, without training,"
        " random numbers, sequences",
    ),
}
_COLUMNS = ("pass", "refused", "wrong", "crash")


def page_of(target: str) -> Path:
    return _DOCS / f"operators-{target}.md"


def document(results: Sequence[Result], target: str = "android") -> str:
    """The page as Markdown; the same results give the same bytes."""
    title, option, run, taken = _PAGES[target]
    told = (
        f"Made by `python tests/conformance/table.py{option} --write` from the ONNX project's own"
        f" node tests (onnx {onnx.__version__}): models of one node {taken}"
        " and decoding of images. Weights, axes, shapes and the like are constants. Each is"
        f" emitted as {run} with the expected output (relative 1e-3, absolute 1e-5; integers"
        " exactly)."
    )
    by_operator: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_operator[result.operator].append(result)
    total = Counter(result.verdict for result in results)
    share = 100 * total["pass"] / len(results)
    lines = [
        f"# {title}",
        "",
        *textwrap.wrap(told, 92),
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
