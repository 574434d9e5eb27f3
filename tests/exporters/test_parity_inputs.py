"""What parity is measured on, and what it tells of each output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.data.source import InputSpec
from edgewise.errors import ModelError
from edgewise.exporters import export, parity
from edgewise.exporters.opened import OpenedModel, SourceOptions
from edgewise.exporters.parity import measure_parity
from edgewise.exporters.source import open_source_model
from edgewise.exporters.trial_inputs import free_sizes, random_feeds, resized, sizes_of, table_rows
from edgewise.graph import prepare

Feed = Mapping[str, Any]

EMBEDDING = """g (int64[n, t] ids, int64[n, t] types, int64[n, t] attention_mask)
    => (float[n, t, 4] y, int64[n, t] kept) {
      cast = Cast <to = 6> (ids)
      words = Gather (table, cast)
      shifted = Add (types, one)
      kinds = Gather (small, shifted)
      sum = Add (words, kinds)
      keep = Cast <to = 1> (attention_mask)
      axes = Constant <value_ints = [-1]> ()
      wide = Unsqueeze (keep, axes)
      masked = Mul (sum, wide)
      y = MatMul (masked, w)
      kept = Identity (attention_mask) }"""


@pytest.fixture
def embedding(parse: Any) -> ir.Model:
    rng = np.random.default_rng(0)
    return parse(
        EMBEDDING,
        table=rng.standard_normal((1000, 4)).astype(np.float32),
        small=rng.standard_normal((3, 4)).astype(np.float32),
        one=np.int64(1),
        w=rng.standard_normal((4, 4)).astype(np.float32),
    )


def spec(name: str, shape: tuple[int | str | None, ...], dtype: Any = np.float32) -> InputSpec:
    return InputSpec(name, shape, np.dtype(dtype))


def one(specs: list[InputSpec], **arguments: Any) -> Feed:
    return next(iter(random_feeds(specs, 1, **arguments)))


def test_indices_stay_within_their_tables(embedding):
    assert table_rows(embedding) == {"ids": 1000, "types": 2}
    specs = [spec(n, (1, 64), np.int64) for n in ("ids", "types", "attention_mask")]
    feed = one(specs, model=embedding)
    assert 100 < feed["ids"].max() < 1000 and feed["ids"].min() >= 0
    assert set(np.unique(feed["types"])) == {0, 1}  # one is added to them
    assert (feed["attention_mask"] == 1).all()


def test_depth_of_one_hot_and_unknown_tables(parse):
    model = parse(
        """g (int64[2] i, int64[2] j, float[k, 3] data) => (float[2, 7] y, float[2, 3] z) {
          y = OneHot (i, seven, values)
          z = Gather (data, j) }""",
        seven=np.int64(7),
        values=np.array([0, 1], np.float32),
    )
    assert table_rows(model) == {"i": 7}


def test_floats_that_become_indices_are_whole_and_within_the_table(parse):
    """A module that says `ids.long()` itself."""
    model = parse(
        """g (float[1, 64] ids, float[1, 4] x) => (float[1, 64, 3] y, float[1, 4] z) {
          i = Cast <to = 7> (ids)
          y = Gather (table, i)
          z = Sin (x) }""",
        table=np.ones((9, 3), np.float32),
    )
    feed = one([spec("ids", (1, 64)), spec("x", (1, 4))], model=model)
    assert set(np.unique(feed["ids"])) == set(range(9))
    assert feed["ids"].dtype == feed["x"].dtype == np.float32
    assert (feed["x"] % 1 != 0).all()


@pytest.mark.parametrize(
    ("dtype", "shape", "low", "high"),
    [
        (np.uint8, (1, 8, 8, 3), 0, 255),
        (np.int8, (1, 8, 8, 3), -128, 127),
        (np.int64, (2, 9), 0, 1),
    ],
)
def test_pixels_fill_their_type(dtype, shape, low, high):
    array = one([spec("x", shape, dtype)])["x"]
    assert low <= array.min() and array.max() <= high
    assert array.max() > 0.9 * high and array.min() <= 0.9 * low


def test_texts_and_booleans():
    feed = one([spec("words", (1, 2), object), spec("padding_mask", (1, 3), bool)])
    assert feed["words"].tolist() == [["a", "a"]] and feed["padding_mask"].all()


def test_sizes_of_free_dimensions():
    specs = [spec("x", ("batch", 3, "h", None)), spec("length", ("h",)), spec("y", (None, 2))]
    assert free_sizes(specs, 0) == {"batch": 1, "h": 32, "x[3]": 32}
    assert free_sizes(specs, 1) == {"batch": 3, "h": 64, "x[3]": 64}
    feed = one(specs, trial=1)
    assert [feed[name].shape for name in ("x", "length", "y")] == [(3, 3, 64, 64), (64,), (3, 2)]
    assert sizes_of(feed, specs) == {"batch": 3, "h": 64, "x[3]": 64}


def test_real_inputs_are_stacked_and_cut():
    specs = [spec("image", ("n", 3, "h", "w")), spec("ids", ("n", "t"), np.int64)]
    feeds = [
        {"image": np.full((1, 3, 96, 10), i, np.float32), "ids": np.full((1, 7), i)}
        for i in range(2)
    ]
    made = resized(feeds, specs)
    assert made["image"].shape == (3, 3, 64, 7) and made["ids"].shape == (3, 5)
    assert made["image"][:, 0, 0, 0].tolist() == [0, 1, 0]


def test_every_output_is_told(embedding):
    result = export(embedding).parity
    assert result.inputs == "random" and result.samples == 2
    assert result.sizes == ("n 1, t 32", "n 3, t 64")
    scores, kept = result.outputs
    assert (scores.name, scores.argmax_agreement, scores.argmax_reason) == ("y", 1.0, None)
    assert scores.max_rel_error < 1e-6
    assert (
        kept.argmax_agreement is None and kept.argmax_reason == "it holds no floating-point numbers"
    )
    assert result.argmax_agreement == 1.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { y = Relu (x) }", "not known to be"),
        ("g (float[2, 1] x) => (float[2, 1] y) { y = Sin (x) }", "one value"),
        ("g (float[7] x) => (float[7] y) { y = Sin (x) }", "no axis of classes"),
        ("g (float[1, 5, 7] x) => (float[1, 5, 7] y) { y = Softmax <axis = 1> (x) }", "not known"),
        ("g (float[1, 5, 7] x) => (float[1, 5, 7] y) { y = Softmax (x) }", None),
        ("g (float[2, 7] x) => (float[2, 7] y) { y = Sin (x) }", None),
    ],
)
def test_where_there_are_classes(parse, text, reason):
    (output,) = export(parse(text)).parity.outputs
    if reason is None:
        assert output.argmax_agreement == 1.0 and output.argmax_reason is None
    else:
        assert output.argmax_agreement is None and reason in output.argmax_reason


def measured(model: ir.Model, real: list[Feed], run: Any = None) -> parity.Parity:
    opened = open_source_model(model, SourceOptions())
    if run is not None:
        opened = replace(opened, open_runner=lambda: run)
    hub = prepare(model)
    specs = [
        InputSpec(
            str(v.name), tuple(d if isinstance(d, int) else d.value for d in v.shape), np.dtype("f")
        )
        for v in hub.graph.inputs
    ]
    return measure_parity(opened, hub, specs, real)


SINE = "g (float[n, 3] x) => (float[n, 3] y) { y = Sin (x) }"


def test_as_many_real_samples_as_are_cheap(parse, monkeypatch):
    feeds = [{"x": np.full((1, 3), i, np.float32)} for i in range(40)]
    model = parse(SINE)
    result = measured(model, feeds)
    assert (result.samples, result.inputs, result.sizes) == (32, "real", ("n 1", "n 3"))
    monkeypatch.setattr(parity, "_SECONDS", 0.0)
    assert measured(model, feeds).samples == 4
    assert measured(model, feeds[:2]).samples == 2


def test_argmax_agreement_counts_rows(parse):
    model = parse(SINE)
    feeds = [{"x": np.array([[1, 1 + d, 0]], np.float32)} for d in (1e-5, -1e-5)]

    def upside_down(feed: Feed) -> list[Any]:
        """Within the tolerance, with another value on top in the first sample."""
        return [np.sin(feed["x"]) + np.float32([2e-5, 0, 0])]

    (output,) = measured(model, feeds, upside_down).outputs
    assert output.argmax_agreement == 0.5


def test_a_second_size_that_the_source_does_not_take(parse):
    def one_at_a_time(feed: Feed) -> list[Any]:
        if len(feed["x"]) > 1:
            raise RuntimeError("a batch of one, please")
        return [np.sin(feed["x"])]

    model = parse(SINE)
    result = measured(model, [{"x": np.ones((1, 3), np.float32)}], one_at_a_time)
    assert result.sizes == ("n 1",)
    assert result.sizes_reason == "the source cannot be run with n 3 (a batch of one, please)"
    assert result.max_rel_error is not None


def test_a_hub_model_that_only_takes_one_size_is_refused(parse):
    model = parse("g (float[n, 3] x) => (float[n, 3] y) { y = Reshape (x, s) }", s=np.int64([1, 3]))
    with pytest.raises(
        ModelError, match=r"cannot be run with n 3, and its source can.*--input-shape"
    ):
        measured(model, [], lambda feed: [feed["x"]])


def test_a_hub_model_that_is_wrong_in_the_other_size_is_refused(parse):
    model = parse(
        "g (float[n, 3] x) => (float[n, 3] y) { y = ReduceSum <keepdims=1> (x, s) }",
        s=np.int64([0]),
    )
    with pytest.raises(ModelError, match=r"with n 3"):
        measured(model, [], lambda feed: [feed["x"]])


def test_examples_that_cannot_be_cut(parse):
    model = parse("g (float[1, t] x) => (float[1, t] y) { y = Sin (x) }")
    result = measured(model, [{"x": np.ones((1, 1), np.float32)}])
    assert result.sizes_reason == "the examples are too small to be cut"


def test_a_source_with_results_of_chance(parse):
    rng = np.random.default_rng()
    result = measured(parse(SINE), [], lambda feed: [rng.standard_normal(feed["x"].shape)])
    assert result.reason == "the source gives another result each time it is run"
    assert result.outputs == () and result.max_rel_error is None


def test_a_source_that_cannot_be_opened(parse):
    def no() -> Any:
        raise OSError("gone")

    opened = replace(open_source_model(parse(SINE), SourceOptions()), open_runner=no)
    assert isinstance(opened, OpenedModel)
    result = measure_parity(opened, prepare(parse(SINE)), [spec("x", ("n", 3))], [])
    assert result.reason == "the source cannot be run on random inputs (gone)"
