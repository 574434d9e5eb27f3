"""The digits network with one tensor spoiled: its float function is the same, in int8 it is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgewise.targets
from edgewise.calibration import Recipe, Statistics, collect_statistics
from edgewise.data import DataSource
from edgewise.data.preprocessing import DataSettings
from edgewise.exporters import export
from edgewise.graph import constant
from edgewise.hub_data import open_for
from edgewise.search import Problem
from edgewise.search.trial_cache import TrialCache
from edgewise.targets import EmitOptions
from edgewise.targets.validation import Baseline, Budget

SAMPLE = Path(__file__).parents[2] / "sample_models" / "digits"
#: a convolution, the Clip behind it, and the depthwise convolution that reads that
_WRITER, _CLIPPED, _READER = "node_Conv_282", "hardtanh_8", "node_Conv_284"
_FACTOR = np.float32(1 / 3000)


def _spoil(model: ir.Model) -> ir.Model:
    """Channels that the Clip leaves alone get 3000 times smaller, and the next weights larger."""
    seen = collect_statistics(model, _data(model, "calibration", 300)).tensors[_CLIPPED]
    assert seen.channel_maximum is not None
    alone = np.flatnonzero(np.asarray(seen.channel_maximum) < 5.0)
    nodes = {node.name: node for node in model.graph}
    writer, reader = nodes[_WRITER], nodes[_READER]
    _scale(model, writer.inputs[1], alone, _FACTOR)
    _scale(model, writer.inputs[2], alone, _FACTOR)
    _scale(model, reader.inputs[1], alone, 1 / _FACTOR)
    return model


def _scale(model: ir.Model, value: Any, where: Any, factor: np.float32) -> None:
    array = np.array(constant(value))
    array[where] *= factor
    model.graph.initializers[value.name].const_value = ir.tensor(array, name=value.name)


def _data(hub: ir.Model, name: str, limit: int) -> DataSource:
    return open_for(hub, str(SAMPLE / f"{name}.npz"), DataSettings(), limit=limit)


@pytest.fixture(scope="session")
def spoiled() -> tuple[ir.Model, Statistics]:
    hub = _spoil(export(SAMPLE / "digits.onnx").model)
    return hub, collect_statistics(hub, _data(hub, "calibration", 40))


@pytest.fixture
def problem(spoiled: tuple[ir.Model, Statistics], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    hub, statistics = spoiled
    with ExitStack() as stack:

        def make(
            target: str = "android",
            *,
            budget: Budget = Budget(accuracy_drop=0.005),  # noqa: B008  # frozen
            seconds: float = 600.0,
            start: Recipe = Recipe(),  # noqa: B008  # frozen
        ) -> Problem:
            evaluation = _data(hub, "evaluation", 150)
            baseline = stack.enter_context(Baseline.collect(hub, evaluation))
            chosen = edgewise.targets.get(target)
            scratch = tmp_path / "scratch"
            scratch.mkdir(exist_ok=True)
            return Problem(
                hub=hub,
                statistics=statistics,
                scheme=chosen.scheme("w8a8"),
                target=chosen,
                options=EmitOptions(),
                calibration=_data(hub, "calibration", 40),
                baseline=baseline,
                budget=budget,
                start=start,
                scratch=scratch,
                deadline=time.monotonic() + seconds,
                cache=TrialCache(tmp_path / "cache", f"spoiled digits {target}"),
            )

        yield make
