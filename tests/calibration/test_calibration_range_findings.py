"""Outliers, wide channels and dead channels are told, and sound tensors are not."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import quantize_with_findings
from edgewise.calibration.range_findings import (
    channel_spread,
    dead_channels,
    range_findings,
    stretch,
    wide_channels,
)
from edgewise.calibration.ranges import entropy, minmax
from edgewise.calibration.statistics import TensorStatistics

random = np.random.default_rng(0)
SOUND = random.normal(0, 1, (1, 64, 12, 12)).astype(np.float32)


def changed(edit):
    array = SOUND.copy()
    edit(array)
    return TensorStatistics.of(array)


def told(statistics, choose=minmax):
    return {
        finding.rule.split("/")[1]: finding
        for finding in range_findings({"t": statistics}, {"t": choose(statistics, 99.99)})
    }


def one_value(array):
    array[0, 3, 2, 1] = 90


def one_channel(array):
    array[0, 7] *= 60


def two_dead(array):
    array[0, 5:7] = 0


def test_nothing_is_told_of_a_sound_tensor():
    assert told(TensorStatistics.of(SOUND)) == {}


def test_one_value_stretches_the_range():
    statistics = changed(one_value)
    assert stretch(statistics, minmax(statistics)) > 10
    assert "'t' (" in told(statistics)["range-outlier"].message
    assert "range-outlier" not in told(statistics, entropy)  # it cuts the value off


def test_one_channel_stretches_the_range():
    statistics = changed(one_channel)
    assert wide_channels(statistics).tolist() == [7]
    assert channel_spread(statistics) == pytest.approx(60, rel=0.5)
    assert "1 tensor with a channel" in told(statistics)["channel-spread"].message


def test_dead_channels_are_counted():
    statistics = changed(two_dead)
    assert dead_channels(statistics).tolist() == [5, 6]
    assert "'t' (2 of 64)" in told(statistics)["dead-channels"].message
    assert dead_channels(TensorStatistics.of(np.zeros((1, 4, 3, 3), np.float32))).size == 0
    assert dead_channels(TensorStatistics.of(np.ones((1, 4), np.float32))).size == 0


def test_the_worst_tensors_are_named_first():
    tensors = {f"t{scale}": changed(lambda a, s=scale: a[0, 7].__imul__(s)) for scale in
               (30, 60, 90, 120)}  # fmt: skip
    ranges = {name: minmax(own) for name, own in tensors.items()}
    spread = [f for f in range_findings(tensors, ranges) if f.rule.endswith("channel-spread")]
    assert "4 tensors" in spread[0].message and spread[0].message.endswith(", ...")
    assert spread[0].message.index("'t120'") < spread[0].message.index("'t60'")


def test_quantization_tells_of_what_it_stores(net, trial, android):
    n = net()
    first = n.conv(n.input("x", 1, 3, 16, 16), 3, 32, name="first")
    factor = np.ones((1, 32, 1, 1), np.float32)
    factor[0, 4] = 100
    made = trial(n.model(n.op("Mul", first, n.const(factor), name="scaled")))
    rules = [f.rule for f in quantize_with_findings(made.model, made.statistics, android).findings]
    assert "calibration/channel-spread" in rules
