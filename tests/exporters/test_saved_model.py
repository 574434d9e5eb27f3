"""SavedModel folders, and functions and modules of TensorFlow in memory."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edgewise.errors import ModelError, UsageError
from edgewise.exporters import export
from edgewise.exporters.opened import SourceOptions
from edgewise.exporters.source import open_source_model
from edgewise.exporters.tensorflow.libraries import silent

with silent():
    tf = pytest.importorskip("tensorflow")

PICTURE = tf.TensorSpec([None, 8, 8, 3], tf.float32, name="picture")


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.standard_normal((3, 3, 3, 4), np.float32))

    @tf.function(input_signature=[PICTURE])
    def __call__(self, picture):
        return tf.nn.relu(tf.nn.conv2d(picture, self.kernel, 2, "SAME", name="conv"))

    @tf.function(input_signature=[PICTURE])
    def features(self, picture):
        return {"mean": tf.reduce_mean(self(picture), [1, 2]), "map": self(picture)}


def save(folder, **signatures):
    net = Net()
    with silent():
        tf.saved_model.save(net, str(folder), signatures=signatures or None)
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    net, folder = Net(), tmp_path_factory.mktemp("several")
    with silent():
        tf.saved_model.save(
            net, str(folder), signatures={"whole": net.__call__, "parts": net.features}
        )
    return folder


def border(result):
    graph = result.model.graph
    return [[value.name for value in side] for side in (graph.inputs, graph.outputs)]


def test_the_default_signature(tmp_path):
    net = Net()
    with silent():
        tf.saved_model.save(
            net, str(tmp_path), signatures={"serving_default": net.__call__, "b": net.features}
        )
    result = export(tmp_path)
    assert result.source_kind == "saved-model"
    assert border(result) == [["picture"], ["output_0"]]
    assert Counter(node.op_type for node in result.model.graph) == {
        "Transpose": 2, "Conv": 1, "Relu": 1
    }  # fmt: skip
    text = " ".join(str(node.name) for node in result.model.graph)
    assert "conv" in text and "PartitionedCall" not in text and "__" not in text


def test_a_chosen_signature(several):
    result = export(several, options=SourceOptions(signature="parts"))
    assert border(result) == [["picture"], ["map", "mean"]]
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-5


def test_the_batch_can_be_fixed(several):
    options = SourceOptions(signature="whole", input_shapes={"picture": [1, 8, 8, 3]})
    graph = export(several, options=options).model.graph
    assert [str(value.shape) for value in (*graph.inputs, *graph.outputs)] == [
        "[1,8,8,3]", "[1,4,4,4]"
    ]  # fmt: skip


@pytest.mark.parametrize("wanted", [None, "other"])
def test_several_signatures_are_listed(several, wanted):
    with pytest.raises(UsageError, match=r"whole, parts.*--signature|parts, whole.*--signature"):
        open_source_model(several, SourceOptions(signature=wanted))


def test_a_folder_without_signatures(tmp_path):
    with silent():
        tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ModelError, match="has no signature"):
        open_source_model(tmp_path, SourceOptions())


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("saved_model.pb", r"saved_model\.pb is truncated, or no SavedModel"),
        ("variables/variables.index", "its weights, in the folder variables, are truncated"),
    ],
)
def test_damaged_folders(several, tmp_path, what, why):
    for path in several.rglob("*"):
        target = tmp_path / path.relative_to(several)
        if path.is_dir():
            target.mkdir()
        else:
            target.write_bytes(path.read_bytes()[: 20 if path.match(f"*/{what}") else None])
    with pytest.raises(ModelError, match=f"cannot read the SavedModel: {why}"):
        open_source_model(tmp_path, SourceOptions(signature="whole"))


def test_a_folder_without_its_weights(several, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes((several / "saved_model.pb").read_bytes())
    with pytest.raises(ModelError, match=r"weights are missing: the folder variables.*copy"):
        open_source_model(tmp_path, SourceOptions(signature="whole"))


def test_folders_that_are_no_models(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(ModelError, match="cannot read this folder as a model"):
        open_source_model(tmp_path, SourceOptions())


def test_modules_and_functions_in_memory():
    net = Net()
    for source in (net, net.features, net.features.get_concrete_function()):
        assert border(export(source))[0] == ["picture"]


def test_functions_without_a_signature():
    @tf.function
    def twice(x):
        return 2 * x

    with pytest.raises(ModelError, match="has no single signature"):
        open_source_model(twice, SourceOptions())
    with pytest.raises(ModelError, match="nothing that can be exported"):
        open_source_model(tf.Module(), SourceOptions())


def test_text_and_unknown_ranks_are_refused():
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def lengths(words):
        return tf.strings.length(words)

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def anything(x):
        return x + 1

    with pytest.raises(ModelError, match="input 'words' takes text"):
        open_source_model(lengths, SourceOptions())
    with pytest.raises(ModelError, match="the rank of input 'x' is not known"):
        open_source_model(anything, SourceOptions())


def test_functions_that_write_variables():
    class Counting(tf.Module):
        def __init__(self):
            super().__init__()
            self.count = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, name="x")])
        def __call__(self, x):
            return x + self.count.assign_add(1.0)

    with pytest.raises(
        ModelError, match=r"constants: node '.*' \(AssignAddVariableOp\) writes one"
    ):
        open_source_model(Counting(), SourceOptions())


def test_tables_are_named():
    class Lookup(tf.Module):
        def __init__(self):
            super().__init__()
            pairs = tf.lookup.KeyValueTensorInitializer([1, 2], [3, 4], tf.int64, tf.int64)
            self.table = tf.lookup.StaticHashTable(pairs, 0)

        @tf.function(input_signature=[tf.TensorSpec([2], tf.int64, name="x")])
        def __call__(self, x):
            return self.table.lookup(x)

    with pytest.raises(
        ModelError, match=r"operator LookupTable\w+ has no form.*outside of the graph"
    ):
        open_source_model(Lookup(), SourceOptions())
