"""The kernel table is complete, free of duplicates, and every kernel in it is tested."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from edgewise.targets.apple._coremltools import quiet
from edgewise.targets.apple.interpreter.kernels import FAMILIES, KERNELS
from edgewise.targets.apple.interpreter.nested import BLOCK_OPERATIONS
from edgewise.targets.apple.interpreter.numbers import MOVES_VALUES
from edgewise.targets.apple.interpreter.refused import REFUSED

with quiet():
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry


def test_no_operation_has_two_kernels() -> None:
    names = Counter(name for family in FAMILIES for name in family)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(KERNELS) == names.total()


def test_every_operation_is_executed_or_refused_on_purpose() -> None:
    known = {name for name in SSAOpRegistry.core_ops if not name.startswith("constexpr_")}
    known.add("coreml_update_state")  # of coremltools' own dialect: `write_state` in the file
    assert known - {"const", "_const_symbolic"} == set(KERNELS) | BLOCK_OPERATIONS | set(REFUSED)
    assert not set(KERNELS) & set(REFUSED)


def test_only_kernels_are_said_to_move_values() -> None:
    assert set(KERNELS) | BLOCK_OPERATIONS >= MOVES_VALUES


@pytest.mark.parametrize("family", range(len(FAMILIES)))
def test_every_kernel_is_tested(family: int) -> None:
    sources = "".join(
        path.read_text() for path in Path(__file__).parent.glob("test_mil_*.py")
        if path.name != Path(__file__).name
    )  # fmt: skip
    words = set(re.findall(r"\w+", sources))
    assert [name for name in FAMILIES[family] if name not in words] == []
