"""Positions that an attention mask hides widen no range, and nothing else is left out."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgewise.calibration import collect_statistics, observed_tensors
from edgewise.calibration.masked_positions import masked_positions
from edgewise.graph import OrtSession, prepare

LENGTH, WIDTH, HEADS, WORDS = 6, 8, 2, 20
#: token 0 is padding; its embedding is far from all others
PAD = 0


class Encoder:
    """A BERT-like block: two heads, a mask of minus ten thousand, and a head on top."""

    def __init__(self, net_class, dtype=TensorProto.INT64, seed=3):
        self.net = net_class(seed)
        for name in ("input_ids", "attention_mask"):
            kind = TensorProto.INT64 if name == "input_ids" else dtype
            self.net.inputs.append(helper.make_tensor_value_info(name, kind, (1, LENGTH)))
        table = self.net.random.normal(0, 1, (WORDS, WIDTH)).astype(np.float32)
        table[PAD] = 50.0 * np.arange(1, WIDTH + 1) / WIDTH
        self.hidden = self.op("Gather", self.net.const(table), "input_ids", name="embedded")

    def op(self, kind, *inputs, **attributes):
        return self.net.op(kind, *inputs, **attributes)

    def ints(self, *numbers):
        return self.net.const(np.array(numbers, np.int64))

    def linear(self, source, name, *size):
        weight = self.net.random.normal(0, WIDTH**-0.5, size or (WIDTH, WIDTH))
        return self.op("MatMul", source, self.net.const(weight.astype(np.float32)), name=name)

    def heads(self, source, name, perm):
        apart = self.op("Reshape", source, self.ints(1, LENGTH, HEADS, WIDTH // HEADS))
        return self.op("Transpose", apart, perm=perm, name=name)

    def additive(self, scores):
        seen = self.op("Unsqueeze", "attention_mask", self.ints(1, 2), name="row")
        unseen = self.op("Sub", self.net.const(np.float32(1)), self.op("Cast", seen, to=1))
        mask = self.op("Mul", unseen, self.net.const(np.float32(-10000)), name="mask")
        return self.op("Add", scores, mask, name="masked")

    def replacing(self, scores):
        seen = self.op("Unsqueeze", self.op("Cast", "attention_mask", to=9), self.ints(1, 2))
        lowest = self.net.const(np.float32(-1e9))
        return self.op("Where", seen, scores, lowest, name="masked")

    def attend(self, apply):
        parts = [self.linear(self.hidden, name) for name in ("query", "key", "value")]
        q = self.heads(parts[0], "q", [0, 2, 1, 3])
        k = self.heads(parts[1], "k", [0, 2, 3, 1])
        v = self.heads(parts[2], "v", [0, 2, 1, 3])
        scores = self.op("MatMul", q, k, name="scores")
        weights = self.op("Softmax", apply(scores), axis=-1, name="weights")
        context = self.op("MatMul", weights, v, name="context")
        together = self.op("Transpose", context, perm=[0, 2, 1, 3])
        flat = self.op("Reshape", together, self.ints(1, LENGTH, WIDTH), name="joined")
        self.hidden = self.op("Add", self.hidden, self.linear(flat, "projected"), name="residual")

    def pooled(self):
        """The mean over tokens that are not masked."""
        mask = self.op("Unsqueeze", "attention_mask", self.ints(2))
        mask = self.op("Cast", mask, to=1, name="indicator")
        kept = self.op("Mul", self.hidden, mask, name="kept")
        return self.op("ReduceSum", kept, self.ints(1), keepdims=0, name="pooled")

    def model(self, output):
        return self.net.model(output)


HIDDEN = ("embedded", "query", "key", "value", "q", "k", "v", "context", "joined", "projected",
          "residual")  # fmt: skip


def built(net_class, apply="additive", head="pooled"):
    encoder = Encoder(net_class)
    encoder.attend(getattr(encoder, apply))
    return encoder.model(encoder.hidden if head is None else getattr(encoder, head)())


def feeds(tokens, dtype=np.int64):
    """The first `tokens` are words, the others padding."""
    words = np.random.default_rng(tokens).integers(1, WORDS, LENGTH)
    mask = (np.arange(LENGTH) < tokens).astype(dtype)
    return {"input_ids": (words * (mask > 0))[None], "attention_mask": mask[None]}


def values(model, sample):
    copy = ir.from_proto(ir.to_proto(model))
    names = [name for name in observed_tensors(model) if name not in sample]
    present = {value.name for value in copy.graph.outputs}
    for node in copy.graph:
        for value in node.outputs:
            if value.name in names and value.name not in present:
                copy.graph.outputs.append(value)
    return OrtSession(copy, optimize="all").run(sample, names)


@pytest.mark.parametrize("apply", ["additive", "replacing"])
@pytest.mark.parametrize("head", ["pooled", None])
def test_masked_positions_widen_no_range(net_class, source, apply, head):
    model, samples = built(net_class, apply, head), [feeds(4), feeds(2)]
    found = collect_statistics(model, source(samples)).tensors
    axis = {"q": 2, "k": 3, "v": 2, "context": 2}
    for name in HIDDEN:
        kept = [
            values(model, sample)[name].take(np.arange(tokens), axis.get(name, 1))
            for sample, tokens in zip(samples, (4, 2), strict=True)
        ]
        whole = np.concatenate([part.ravel() for part in kept])
        assert (found[name].minimum, found[name].maximum) == (whole.min(), whole.max()), name
        assert found[name].count == whole.size
    scores = [values(model, sample)["scores"] for sample in samples]
    cut = [part[:, :, :count, :count] for part, count in zip(scores, (4, 2), strict=True)]
    assert found["scores"].maximum == max(part.max() for part in cut)


def test_what_decides_is_observed_whole(net_class, source):
    """The mask reaches to -10000, which an integer form of the addition needs."""
    model = built(net_class)
    found = collect_statistics(model, source([feeds(4)])).tensors
    assert found["mask"].minimum == -10000
    assert found["masked"].minimum < -9000
    assert found["masked"].count == HEADS * LENGTH**2
    assert (found["indicator"].minimum, found["indicator"].maximum) == (0, 1)


def test_samples_without_padding_are_observed_whole(net_class, source):
    model = built(net_class)
    found = collect_statistics(model, source([feeds(LENGTH)])).tensors
    assert found["embedded"].count == LENGTH * WIDTH


def test_ranges_are_those_of_a_shorter_input(net_class, source):
    """The same words without padding give the same statistics, but for rounding."""
    model = built(net_class)
    sample = feeds(4)
    other = {name: array.copy() for name, array in sample.items()}
    other["input_ids"][0, 4:] = 7  # other tokens behind the mask
    one, two = (collect_statistics(model, source([s])).tensors for s in (sample, other))
    for name in HIDDEN:
        assert one[name].maximum == pytest.approx(two[name].maximum, rel=1e-5), name


def test_channels_are_observed_beside_positions(net_class, source):
    found = collect_statistics(built(net_class), source([feeds(4)])).tensors
    assert found["embedded"].channel_maximum.shape == (WIDTH,)
    assert found["embedded"].channel_maximum.max() == found["embedded"].maximum < 10
    assert found["v"].channel_maximum.shape == (HEADS,)


def unmasked_mean(encoder):
    return encoder.op("ReduceMean", encoder.hidden, encoder.ints(1), keepdims=0, name="mean")


def convolved(encoder):
    turned = encoder.op("Transpose", encoder.hidden, perm=[0, 2, 1])
    weight = encoder.net.const(np.ones((WIDTH, WIDTH, 3), np.float32))
    return encoder.op("Conv", turned, weight, pads=[1, 1], name="convolved")


@pytest.mark.parametrize("head", [unmasked_mean, convolved])
def test_positions_that_another_operator_reads_are_kept(net_class, source, head):
    """A mean over all tokens, or a convolution along them, is told what padding holds."""
    encoder = Encoder(net_class)
    encoder.attend(encoder.additive)
    found = collect_statistics(encoder.model(head(encoder)), source([feeds(4)])).tensors
    assert found["embedded"].maximum == 50.0


def test_a_second_softmax_without_the_mask_keeps_all(net_class, source):
    encoder = Encoder(net_class)
    encoder.attend(encoder.additive)
    first = encoder.net
    first.op("Identity", encoder.hidden, name="between")
    parts = [encoder.linear(encoder.hidden, name) for name in ("query2", "key2")]
    turned = encoder.op("Transpose", parts[1], perm=[0, 2, 1])
    open_scores = encoder.op("MatMul", parts[0], turned)
    weights = encoder.op("Softmax", open_scores, axis=-1)
    output = encoder.op("MatMul", weights, encoder.hidden, name="open")
    found = collect_statistics(encoder.model(output), source([feeds(4)])).tensors
    assert found["embedded"].maximum == 50.0


def test_a_mask_of_floats_is_a_mask(net_class, source):
    encoder = Encoder(net_class, dtype=TensorProto.FLOAT)
    encoder.attend(encoder.additive)
    found = collect_statistics(
        encoder.model(encoder.pooled()), source([feeds(4, np.float32)])
    ).tensors
    assert found["embedded"].maximum < 10
    assert (found["attention_mask"].minimum, found["attention_mask"].maximum) == (0, 1)


def test_a_constant_mask_hides_no_position(net_class):
    """A causal mask keeps every key for some query."""
    encoder = Encoder(net_class)
    causal = np.triu(np.full((LENGTH, LENGTH), -1e9, np.float32), 1)
    encoder.attend(lambda scores: encoder.op("Add", scores, encoder.net.const(causal)))
    assert masked_positions(encoder.model(encoder.hidden)) == ()


def test_networks_without_attention_have_no_positions(models):
    assert all(masked_positions(make()) == () for make in models.values())


def test_two_samples_of_different_length_share_a_dynamic_axis(net_class, source):
    encoder = Encoder(net_class)
    encoder.attend(encoder.additive)
    model = encoder.model(encoder.hidden)
    assert prepare(ir.from_proto(ir.to_proto(model))) is not None
    parts = [collect_statistics(model, source([feeds(n)])) for n in (3, 5)]
    whole = collect_statistics(model, source([feeds(3), feeds(5)]))
    merged = parts[0] + parts[1]
    for name in HIDDEN:
        assert merged.tensors[name].maximum == whole.tensors[name].maximum
        assert merged.tensors[name].count == whole.tensors[name].count
