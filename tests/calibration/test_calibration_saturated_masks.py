"""Masked softmaxes in integers: the mask goes as low as its softmax can tell, and no lower."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import quantize_with_findings
from edgewise.graph import OrtSession
from edgewise.targets.android.scheme import W8A8

COUNT, SIZE = 12, 8
LOWEST = float(np.finfo(np.float32).min)
NUMBERS = [-np.inf, LOWEST, -1e9, -1e4, -100.0]


class Attention:
    """Attention of q, k and v, with a mask that a test applies to the scores."""

    def __init__(self, net_class):
        self.net = net_class()
        self.q = self.net.input("q", 1, COUNT, SIZE)
        self.k = self.net.input("k", 1, SIZE, COUNT)
        self.v = self.net.input("v", 1, COUNT, SIZE)
        self.scores = self.net.op("MatMul", self.q, self.k, name="scores")

    def add(self, mask):
        return self.net.op("Add", self.scores, mask, name="masked")

    def model(self, masked, guarded=False):
        weights = self.net.op("Softmax", masked, axis=-1, name="weights")
        if guarded:
            test = self.net.op("IsNaN", weights, name="test")
            weights = self.net.op("Where", test, self.zero(), weights, name="guarded")
        return self.net.model(self.net.op("MatMul", weights, self.v, name="y"))

    def zero(self):
        return self.net.const(np.float32(0))

    def seen(self):
        """Which keys each query sees, told from the sign of q: computed, never none."""
        total = self.net.op("ReduceSum", self.q, keepdims=1, name="total")
        row = self.net.op("Transpose", total, perm=[0, 2, 1], name="row")
        visible = self.net.op("Greater", row, self.net.const(np.float32(-1)), name="visible")
        own = self.net.const(np.eye(COUNT, dtype=bool)[None])
        return self.net.op("Or", visible, own, name="seen")


def causal(number):
    return np.triu(np.full((COUNT, COUNT), number, np.float32), 1)


def constant(attention, number):
    return attention.add(attention.net.const(causal(number)))


def slopes(attention, number):
    """A mask that also holds a bias, as ALiBi does (Press et al. 2021, arXiv:2108.12409)."""
    distance = np.arange(COUNT)[:, None] - np.arange(COUNT)
    mask = np.where(distance >= 0, -0.25 * distance, number).astype(np.float32)
    return attention.add(attention.net.const(mask))


def chosen(attention, number):
    mask = [attention.seen(), attention.zero(), attention.net.const(np.float32(number))]
    return attention.add(attention.net.op("Where", *mask, name="mask"))


def in_place(attention, number):
    mask = attention.net.const(np.float32(number))
    return attention.net.op("Where", attention.seen(), attention.scores, mask, name="masked")


def product(attention, number):
    one = attention.net.const(np.float32(1))
    seen = attention.net.op("Cast", attention.seen(), to=1, name="indicator")
    unseen = attention.net.op("Sub", one, seen, name="unseen")
    factor = attention.net.const(np.float32(max(number, LOWEST)))
    return attention.add(attention.net.op("Mul", unseen, factor, name="mask"))


def reshaped(attention, number):
    """The mask for one of several axes, as Swin applies it."""
    shape = attention.net.const(np.array([1, 1, COUNT, COUNT]))
    back = attention.net.const(np.array([1, COUNT, COUNT]))
    scores = attention.net.op("Reshape", attention.scores, shape, name="apart")
    masked = attention.net.op("Add", scores, attention.net.const(causal(number)), name="masked")
    return attention.net.op("Reshape", masked, back, name="together")


FORMS = [constant, slopes, chosen, in_place, product, reshaped]


def by_type(model, *op_types):
    return [node for node in model.graph if node.op_type in op_types]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_masks_are_quantized_and_weigh_nothing(net_class, trial, form, number):
    attention = Attention(net_class)
    made = trial(attention.model(form(attention, number)))
    done = quantize_with_findings(made.model, made.statistics, W8A8)
    told = {finding.node for finding in done.findings}
    assert not told & {"n_masked", "n_weights", "n_mask", "n_apart"}
    softmax = by_type(done.model, "Softmax")[0]
    assert softmax.inputs[0].producer().op_type == "DequantizeLinear"
    island = made.quantize(W8A8, exclude=["n_masked", "n_weights"])
    assert by_type(island, "Softmax")[0].inputs[0].producer().op_type != "DequantizeLinear"
    assert made.sqnr(done.model) > made.sqnr(island) - 2.5
    assert made.sqnr(done.model) > 25


def test_masked_elements_weigh_nothing_in_the_worst_row(net_class, trial):
    """The first query sees one key only, with the lowest of all scores."""
    attention = Attention(net_class)
    made = trial(attention.model(constant(attention, -np.inf)))
    feeds = {name: array.copy() for name, array in made.source.samples[0].items()}
    low = made.statistics.tensors["scores"].minimum
    feeds["q"][0, 0] = np.eye(SIZE)[0] * abs(low) ** 0.5
    feeds["k"][0] = 0
    feeds["k"][0, 0] = abs(low) ** 0.5
    feeds["k"][0, 0, 0] *= -1
    feeds["v"] = np.clip(feeds["v"], -1, 1)
    wanted = OrtSession(made.model).run(feeds)["y"][0, 0]
    found = OrtSession(made.quantize(W8A8)).run(feeds)["y"][0, 0]
    np.testing.assert_allclose(found, wanted, atol=0.05)


def test_layers_share_a_mask(net_class, trial):
    """The second one has scores of twice the range."""
    attention = Attention(net_class)
    net = attention.net
    mask = net.op(
        "Where",
        attention.seen(),
        attention.zero(),
        net.const(np.float32(-np.inf)),
        name="mask",
    )
    first = net.op("Softmax", attention.add(mask), axis=-1, name="first")
    scaled = net.op("Mul", attention.q, net.const(np.float32(2)), name="scaled")
    again = net.op("Add", net.op("MatMul", scaled, attention.k, name="other"), mask, name="again")
    second = net.op("Softmax", again, axis=-1, name="second")
    outputs = [net.op("MatMul", part, attention.v) for part in (first, second)]
    made = trial(net.model(*outputs))
    done = quantize_with_findings(made.model, made.statistics, W8A8)
    for softmax in by_type(done.model, "Softmax"):
        assert softmax.inputs[0].producer().op_type == "DequantizeLinear"
    assert made.sqnr(done.model) > 25


@pytest.mark.parametrize("number", [-np.inf, LOWEST])
@pytest.mark.parametrize("form", [constant, chosen, in_place])
def test_zeros_for_nan_survive_where_they_matter(net_class, trial, form, number):
    attention = Attention(net_class)
    made = trial(attention.model(form(attention, number), guarded=True))
    done = quantize_with_findings(made.model, made.statistics, W8A8)
    assert not by_type(done.model, "IsNaN")
    kept = number == -np.inf and form is not constant
    wheres = {node.name for node in by_type(done.model, "Where")}
    assert ("n_guarded" in wheres) == kept
    assert bool(wheres) == (form is not constant)
    assert made.sqnr(done.model) > 25


def test_a_row_that_is_masked_entirely_gives_zeros_where_the_model_says_so(net_class, trial):
    attention = Attention(net_class)
    net = attention.net
    queries = net.input("queries", 1, COUNT, 1)
    visible = net.op("Greater", queries, net.const(np.float32(-5)), name="visible")
    mask = net.op("Where", visible, attention.zero(), net.const(np.float32(-np.inf)), name="mask")
    made = trial(attention.model(attention.add(mask), guarded=True))
    feeds = dict(made.source.samples[0])
    feeds["queries"] = feeds["queries"].copy()
    feeds["queries"][0, 3, 0] = -6  # the fourth query sees nothing
    assert not OrtSession(made.model).run(feeds)["y"][0, 3].any()
    found = OrtSession(made.quantize(W8A8)).run(feeds)["y"][0]
    assert not found[3].any()
    assert found[2].any()


def test_unmasked_guards_vanish(net_class, trial):
    attention = Attention(net_class)
    made = trial(attention.model(attention.scores, guarded=True))
    done = quantize_with_findings(made.model, made.statistics, W8A8)
    assert not by_type(done.model, "IsNaN", "Where")


def read_elsewhere(attention):
    masked = chosen(attention, -np.inf)
    attention.net.op("Exp", "mask", name="extra")
    return masked


def no_indicator(attention):
    share = attention.net.op("Sigmoid", attention.scores, name="share")
    factor = attention.net.const(np.float32(LOWEST))
    return attention.add(attention.net.op("Mul", share, factor, name="mask"))


def hidden_row(attention):
    mask = causal(-1e4)
    mask[4] = -1e4
    return attention.add(attention.net.const(mask))


@pytest.mark.parametrize("form", [read_elsewhere, no_indicator, hidden_row])
def test_other_masks_stay_in_float(net_class, trial, form):
    attention = Attention(net_class)
    masked = form(attention)
    weights = attention.net.op("Softmax", masked, axis=-1, name="weights")
    outputs = [attention.net.op("MatMul", weights, attention.v, name="y")]
    if form is read_elsewhere:
        outputs.append("extra")
    made = trial(attention.net.model(*outputs))
    done = quantize_with_findings(made.model, made.statistics, W8A8)
    assert by_type(done.model, "Softmax")[0].inputs[0].producer().op_type != "DequantizeLinear"
    assert "n_weights" in {finding.node for finding in done.findings}
