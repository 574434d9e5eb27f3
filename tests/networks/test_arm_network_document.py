"""The page about networks on ARM says what the networks of today say."""

from __future__ import annotations

import pytest
from zoo.arm_document import DOCUMENT, document, line
from zoo.arm_figures import ArmFigures, arm_figures_of
from zoo.table import NETWORKS

pytestmark = pytest.mark.slow

#: quick to export, with and without islands
_CHECKED = ("ds_cnn", "gpt2_static_cache", "minilm")
#: powers of ten of differences, which depend on the machine
_MEASURED = (6, 7)


def cells_of(text: str) -> list[str]:
    return [cell.strip() for cell in text.strip("|").split("|")]


def written() -> dict[str, list[str]]:
    """The cells of each row, by network."""
    rows = [cells_of(text) for text in DOCUMENT.read_text("utf-8").splitlines()]
    return {row[0]: row for row in rows if row[0] in NETWORKS}


def test_every_network_has_a_row() -> None:
    assert sorted(written()) == sorted(NETWORKS)


@pytest.mark.parametrize("name", _CHECKED)
def test_rows_are_as_written(name: str) -> None:
    found, expected = cells_of(line(arm_figures_of(name))), written()[name]
    kept = [k for k in range(len(found)) if k not in _MEASURED]
    assert [found[k] for k in kept] == [expected[k] for k in kept]


def test_equal_rows_give_equal_pages() -> None:
    row = ArmFigures("net", 9, 5, 1, 4, ("1 x Erf",), -5, -2, 0.26)
    assert document([row]) == document([row])
    assert "| net | 9 | 5 | 1 | 4 | 1 x Erf | 1e-5 | 1e-2 | 0.26 |" in document([row])
