"""The page about networks on Android says what the networks of today say."""

from __future__ import annotations

import pytest
from zoo.document import DOCUMENT, document, line
from zoo.figures import Figures, figures_of
from zoo.table import NETWORKS

pytestmark = pytest.mark.slow

#: quick to export, and with islands, requantizations and transposes among them
_CHECKED = ("ds_cnn", "gpt2_static_cache", "minilm", "yolo_dfl")


def written() -> dict[str, list[str]]:
    """The cells of each row, by network."""
    rows = [text.strip("|").split("|") for text in DOCUMENT.read_text("utf-8").splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows]
    return {row[0]: row for row in cells if row[0] in NETWORKS}


def test_every_network_has_a_row() -> None:
    assert sorted(written()) == sorted(NETWORKS)


@pytest.mark.parametrize("name", _CHECKED)
def test_operators_islands_and_layers_are_as_written(name: str) -> None:
    """All but the error in float, whose power of ten depends on the machine."""
    row = line(figures_of(name)).strip("|").split("|")
    found = [cell.strip() for cell in row]
    assert found[:7] + found[8:] == written()[name][:7] + written()[name][8:]


def test_equal_rows_give_equal_pages() -> None:
    row = Figures("net", 5, 3, ("1 x Erf (no kernel)",), 0.25, 1, 0, -5, 3, 1.0)
    assert document([row]) == document([row])
    assert "| net | 5 | 3 | 1 x Erf (no kernel) | 25.0% | 1 | 0 | 1e-5 | 1 |" in document([row])
