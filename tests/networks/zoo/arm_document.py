"""The figures of all networks on ARM as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.arm_figures import ArmFigures

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "networks-arm.md"

_HEADER = (
    "Network | Operators | Integer kernels | Convolutions and products in float | Conversions "
    "| Float islands | fp32 error | fp16 error | Size"
)
_INTRODUCTION = """
Made by `python tests/networks/table.py --target arm --write`: mainstream networks, most of them
with random weights, exported from PyTorch, and emitted as fp32, fp16 and w8a8 (int8).

- *Operators* are those of the int8 file as ONNX Runtime executes it on ARM64, before layout
  changes; *integer kernels* those that compute on integers. What else there is moves integers.
- *Conversions* are QuantizeLinear and DequantizeLinear, those of inputs and outputs among them.
- A *float island* is a connected part in float between DequantizeLinear and QuantizeLinear.
- *fp32 error* and *fp16 error* are above the largest difference from ONNX Runtime over the largest
  output, on this machine, where fp16 computes in float32.
- *Size* is that of the int8 file over the fp32 one.
"""


def document(rows: Sequence[ArmFigures]) -> str:
    """The page as Markdown; the same rows give the same bytes."""
    lines = [
        "# Networks on ARM",
        "",
        *_INTRODUCTION.strip().splitlines(),
        "",
        f"| {_HEADER} |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
        *map(line, rows),
    ]
    return "\n".join(lines) + "\n"


def line(row: ArmFigures) -> str:
    """One row of the table."""
    cells = [
        row.name,
        str(row.operators),
        str(row.kernels),
        str(row.float_products),
        str(row.conversions),
        "; ".join(row.islands) or "none",
        f"1e{row.fp32_error}",
        f"1e{row.fp16_error}",
        f"{row.size:.2f}",
    ]
    return f"| {' | '.join(cells)} |"
