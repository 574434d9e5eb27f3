"""The figures of all networks in Core ML as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.apple_figures import AppleFigures

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "networks-apple.md"

_HEADER = (
    "Network | Operations | Expected off the Neural Engine | fp32 error | fp16 error "
    "| Layers in Apple's form | Float layers | Worst layer (LSB) | Weights | System"
)
_INTRODUCTION = """
Made by `python tests/networks/table.py --target apple --write`: mainstream networks, most of
them with random weights, exported from PyTorch, emitted as fp32, fp16 and w8a8 (int8), read
back from disk and run in Edgewise's interpreter. Nothing here ran on a device.

- *Operations* are those that compute in the fp16 package; *expected off the Neural Engine* are
  the kinds among them that the rules have no path for (findings `apple/ane-...`).
- *fp32 error* is above the largest difference from ONNX Runtime over the largest output, *fp16
  error* over the range of the output.
- *Layers in Apple's form* have int8 weights and stand between `dequantize` and `quantize` as
  Apple's own quantizers write it; *float layers* have weights in floating point.
- *Worst layer*: each layer of the int8 package (computed in fp32) is fed what the QDQ model has
  there in ONNX Runtime; the largest difference of its integers, in steps.
- *Weights* are the bytes of the int8 package's over those of the fp32 one's; *System* is the
  oldest that runs the int8 package.
"""


def document(rows: Sequence[AppleFigures]) -> str:
    """The page as Markdown; the same rows give the same bytes."""
    lines = [
        "# Networks in Core ML",
        "",
        *_INTRODUCTION.strip().splitlines(),
        "",
        f"| {_HEADER} |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *map(line, rows),
    ]
    return "\n".join(lines) + "\n"


def line(row: AppleFigures) -> str:
    """One row of the table."""
    cells = [
        row.name,
        str(row.operations),
        ", ".join(row.leaving) or "none",
        f"1e{row.fp32_error}",
        f"1e{row.fp16_error}",
        f"{row.in_form} of {row.layers}",
        str(row.float_layers),
        f"{round(row.layer_lsb, 2):g}",
        f"{row.size:.2f}",
        row.system,
    ]
    return f"| {' | '.join(cells)} |"
