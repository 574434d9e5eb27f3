"""The end of a classifier: the likeliest label, and a dictionary of all (MIL `classify`, iOS15).

`classes` holds one text or integer for each of the `probabilities`, in their order. Where several
are equal the first wins, as in `argmax`; Core ML does not say which it takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Inputs, Kernel, Node, Run


def _classify(node: Node) -> Run:
    classes = list(node.constants["classes"])

    def run(inputs: Inputs) -> tuple[Any, dict[Any, float]]:
        values = np.asarray(inputs["probabilities"]).reshape(-1)
        if values.size != len(classes):
            raise ValueError(f"{values.size} probabilities for {len(classes)} classes")
        table = dict(zip(classes, values.tolist(), strict=True))
        return classes[int(values.argmax())], table

    return run


KERNELS: dict[str, Kernel] = {
    "classify": _classify,
}
