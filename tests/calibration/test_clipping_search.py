"""Ranges are clipped where outputs gain, and nowhere else."""

from __future__ import annotations

import time

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.calibration import collect_statistics
from edgewise.calibration.clipping import search_clipping
from edgewise.calibration.quantize import quantize_with_findings
from edgewise.calibration.recipe import PLAIN, Recipe
from edgewise.errors import DataError, ModelError, UsageError
from edgewise.graph import TensorQuantization, attach_known_ranges, quantization_of


def outlier_network(net) -> ir.Model:
    """A hidden channel without effect on the outputs sets the range of all others."""
    build = net(1)
    x = build.input("x", 1, 4, 8, 8)
    first = build.random.normal(0, 0.5, (8, 4, 3, 3)).astype(np.float32)
    first[3] *= 60
    hidden = build.op("Conv", x, build.const(first), name="hidden", pads=[1, 1, 1, 1])
    act = build.op("Relu", hidden, name="act")
    last = build.random.normal(0, 0.3, (5, 8, 1, 1)).astype(np.float32)
    last[:, 3] = 0
    return build.model(build.op("Conv", act, build.const(last), name="y"))


@pytest.fixture
def outliers(net, source_of):
    model = outlier_network(net)
    source = source_of(model, count=12)
    return model, source, collect_statistics(model, source)


def sqnr(model: ir.Model, statistics, scheme, recipe, trial) -> float:
    case = trial(model, count=10, seed=9)
    return case.sqnr(quantize_with_findings(model, statistics, scheme, recipe).model)


def test_an_outlier_without_effect_is_clipped(outliers, scheme, trial):
    model, source, statistics = outliers
    found = search_clipping(model, statistics, scheme, PLAIN, source)
    assert "act" in found.clipped and "act" in found.recipe.clipped
    low, high = found.recipe.clipped["act"]
    assert low == 0.0 and high < 0.2 * statistics.tensors["act"].maximum
    assert found.after < 0.1 * found.before and not found.cut_short
    gain = [sqnr(model, statistics, scheme, recipe, trial) for recipe in (PLAIN, found.recipe)]
    assert gain[1] > gain[0] + 10  # dB, on other samples


def test_scores_of_classes_are_judged_by_their_differences(outliers, android):
    model, source, statistics = outliers
    found = search_clipping(model, statistics, android, PLAIN, source, measure="classes")
    assert found.after < 0.1 * found.before


def test_nothing_is_clipped_where_nothing_gains(net, source, apple):
    """Two equally likely values: every narrower range loses one."""
    build = net()
    x = build.input("x", 1, 16)
    model = build.model(build.op("Relu", x, name="y"))
    random = np.random.default_rng(0)
    data = source([{"x": random.choice([-1, 1], (1, 16)).astype(np.float32)} for _ in range(8)])
    statistics = collect_statistics(model, data)
    found = search_clipping(model, statistics, apple, PLAIN, data)
    assert found.recipe == PLAIN and not found.clipped and found.after == found.before


def test_the_same_search_gives_the_same_recipe(outliers, android):
    model, source, statistics = outliers
    one, two = (search_clipping(model, statistics, android, PLAIN, source) for _ in range(2))
    assert one == two and one.recipe.key == two.recipe.key != PLAIN.key


def test_it_goes_on_from_what_is_clipped(outliers, android):
    model, source, statistics = outliers
    high = statistics.tensors["act"].maximum / 4
    recipe = Recipe(clipped={"act": (0.0, high)})
    found = search_clipping(model, statistics, android, recipe, source)
    assert found.recipe.clipped["act"][1] < high and found.after < found.before


def test_time_ends_it(outliers, android):
    model, source, statistics = outliers
    past = time.monotonic() - 1
    found = search_clipping(model, statistics, android, PLAIN, source, deadline=past)
    assert found.cut_short and found.recipe == PLAIN and found.evaluations == 1


def test_one_sample_is_too_few(outliers, android):
    model, source, statistics = outliers
    with pytest.raises(DataError, match="two samples"):
        search_clipping(model, statistics, android, PLAIN, source, limit=1)


def scale_of(qdq: ir.Model, tensor: str) -> float:
    (found,) = (
        quantization_of(node)
        for node in qdq.graph
        if node.op_type == "QuantizeLinear" and node.inputs[0].name == tensor
    )
    return float(found.scale)


def test_a_recipe_sets_the_range_of_a_tensor(outliers, android):
    model, _, statistics = outliers
    recipe = Recipe(clipped={"act": (0.0, 2.55)})
    qdq = quantize_with_findings(model, statistics, android, recipe).model
    assert scale_of(qdq, "act") == pytest.approx(0.01)
    plain = quantize_with_findings(model, statistics, android).model
    assert scale_of(qdq, "x") == scale_of(plain, "x")


def test_shared_scales_stay_shared(models, android, trial):
    case = trial(models["branches"](), count=2)
    names = ("padded", "pooled", "bigger")
    scales = []
    for clipped in (("joined",), ("joined", "line", *names)):
        recipe = Recipe(clipped=dict.fromkeys(clipped, (-0.25, 0.25)))
        qdq = quantize_with_findings(case.model, case.statistics, android, recipe).model
        found = {scale_of(qdq, name) for name in names}
        assert len(found) == 1
        scales += found
    # whoever is not clipped keeps the range of the group wide
    wide = case.statistics.tensors["line"]
    assert scales[0] * 255 >= wide.maximum - wide.minimum > 10 * scales[1] * 255 / 4


def test_what_a_quantized_source_knows_comes_first(outliers, android):
    model, _, statistics = outliers
    scale, zero = np.array(0.125, np.float32), np.array(-128, np.int8)
    copy = ir.from_proto(ir.to_proto(model))
    attach_known_ranges(copy, {"act": TensorQuantization(scale, zero)})
    recipe = Recipe(clipped={"act": (0.0, 2.55)})
    statistics = collect_statistics(copy, outliers[1])
    qdq = quantize_with_findings(copy, statistics, android, recipe).model
    assert scale_of(qdq, "act") == 0.125


@pytest.mark.parametrize(
    ("clipped", "message"),
    [
        ({"nowhere": (0.0, 1.0)}, "no tensor 'nowhere'"),
        ({"act": (2.0, 1.0)}, "two finite numbers"),
        ({"act": (0.0, float("inf"))}, "two finite numbers"),
    ],
)
def test_a_range_that_is_none_is_refused(outliers, android, clipped, message):
    model, _, statistics = outliers
    with pytest.raises(UsageError, match=message):
        quantize_with_findings(model, statistics, android, Recipe(clipped=clipped))


def test_statistics_of_another_model_are_refused(outliers, net, android):
    _, source, statistics = outliers
    other = outlier_network(net)
    other.graph.node(0).attributes["pads"] = ir.AttrInt64s("pads", [0, 0, 2, 2])
    with pytest.raises(ModelError, match="another model"):
        search_clipping(other, statistics, android, PLAIN, source)
