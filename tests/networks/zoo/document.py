"""The figures of all networks as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.figures import Figures

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "networks-android.md"

_HEADER = (
    "Network | Operators | Integer | Float islands, and why | Multiply-adds in float "
    "| Transposes | Requantizations | fp32 error | Worst layer (LSB)"
)


def document(rows: Sequence[Figures]) -> str:
    """The page as Markdown; the same rows give the same bytes."""
    lines = [
        "# Networks on Android",
        "",
        "Made by `python tests/networks/table.py --write`: mainstream networks, most of them with",
        "random weights, exported from PyTorch, and emitted as fp32 and as w8a8 (int8).",
        "",
        "- *Operators* are those of the int8 file, but that a function of one element is counted",
        "  as one where it runs as a table of integers. *Integer* are those that touch no float.",
        "- A *float island* is a connected part in float32 between DEQUANTIZE and QUANTIZE.",
        "- *Requantizations* are QUANTIZE operators between integers.",
        "- *fp32 error* is above the largest difference from ONNX Runtime over the largest output.",
        "- *Worst layer*: each layer is fed what the QDQ model has there in ONNX Runtime; the",
        "  largest difference of its integers, in steps. 1 is a rounding at a tie.",
        "",
        f"| {_HEADER} |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
        *map(line, rows),
    ]
    return "\n".join(lines) + "\n"


def line(row: Figures) -> str:
    """One row of the table."""
    cells = [
        row.name,
        str(row.operators),
        str(row.integer),
        "; ".join(row.islands) or "none",
        f"{row.float_share:.1%}",
        str(row.transposes),
        str(row.requantizations),
        f"1e{row.fp32_error}",
        f"{row.layer_lsb:g}",
    ]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
