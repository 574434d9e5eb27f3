"""Keras models in memory: what they compute, and whose names the graph has."""

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
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
layers = keras.layers


def ops(result):
    return Counter(node.op_type for node in result.model.graph)


def border(result):
    graph = result.model.graph
    return [
        {value.name: str(value.shape) for value in side} for side in (graph.inputs, graph.outputs)
    ]


@pytest.fixture(scope="module")
def picture():
    """Everything that a small mobile network has, dropout and augmentation among it."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((33, 32, 3), name="image"),
            layers.Rescaling(1 / 127.5, -1.0, name="rescale"),
            layers.RandomFlip(),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem"),
            layers.BatchNormalization(name="stem_norm"),
            layers.ReLU(6.0, name="stem_relu"),
            layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise"),
            layers.Activation("hard_silu", name="swish"),
            layers.Dropout(0.5),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(10, activation="softmax", name="scores"),
        ],
        name="net",
    )
    random = np.random.default_rng(0)
    for name in ("stem_norm", "depthwise"):  # ones and zeros would be folded away
        layer = model.get_layer(name)
        shapes = [weight.shape for weight in layer.get_weights()]
        layer.set_weights([random.uniform(0.5, 1.5, shape) for shape in shapes])
    return export(model), model


def test_channels_last_leaves_one_transpose(picture):
    result, _ = picture
    found = ops(result)
    assert found["Transpose"] == 1
    assert found["Conv"] == 2 and found["HardSwish"] == 1 and found["Clip"] == 1
    assert not {"BatchNormalization", "Dropout"} & set(found)
    assert result.source_kind == "keras"
    assert result.exporter.startswith("tf2onnx ") and "Keras" in result.exporter
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-5


def test_names_are_those_of_the_layers(picture):
    result, _ = picture
    inputs, outputs = border(result)
    assert inputs == {"image": "[batch,33,32,3]"}
    assert outputs == {"scores": "[batch,10]"}
    names = [node.name for node in result.model.graph]
    text = " ".join(str(name) for name in names)
    assert "stem_relu/Relu6" in names and "depthwise/depthwise" in names
    assert not any(word in text for word in ("StatefulPartitionedCall", "Identity", "__", "net"))


def test_layers_run_in_order(picture):
    _, model = picture
    opened = open_source_model(model, SourceOptions())
    image = np.random.default_rng(0).uniform(0, 255, (2, 33, 32, 3)).astype(np.float32)
    told = list(opened.open_layers()({"image": image}))
    names = [name for name, _ in told]
    assert names == [layer.name for layer in model.layers]
    np.testing.assert_array_equal(told[-1][1], opened.open_runner()({"image": image})[0])
    np.testing.assert_array_equal(told[-1][1], np.asarray(model(image, training=False)))
    assert not any("call" in vars(layer) for layer in model.layers), "layers are as they were"


def test_values_in_the_graph_have_the_names_of_layers(picture):
    _, model = picture
    opened = open_source_model(model, SourceOptions())
    named = {value.name for node in opened.model.graph for value in node.outputs}
    assert {"stem_norm", "stem_relu", "depthwise", "swish", "pool", "flat"} <= named


def test_shapes_can_be_fixed_and_named(picture):
    _, model = picture
    fixed = export(model, input_shapes={"image": [2, 33, 32, 3]})
    assert border(fixed) == [{"image": "[2,33,32,3]"}, {"scores": "[2,10]"}]
    named = export(model, input_shapes={"image": ["n", 33, 32, 3]})
    assert border(named) == [{"image": "[n,33,32,3]"}, {"scores": "[n,10]"}]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"picture": [1, 33, 32, 3]}, "has no input 'picture': its inputs are image"),
        ({"image": [1, 33, 32]}, "input 'image' has rank 4"),
        ({"image": [1, 33, 32, 1]}, "input 'image' has 3 at axis 3"),
    ],
)
def test_shapes_that_do_not_fit(picture, shapes, message):
    _, model = picture
    with pytest.raises(UsageError, match=message):
        open_source_model(model, SourceOptions(input_shapes=shapes))


def test_several_inputs_and_outputs_of_nested_models():
    tower = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same", name="conv"), layers.ReLU()],
        name="tower",
    )
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    both = layers.Concatenate(name="both")([tower(left), tower(right)])
    scores = layers.Dense(2, name="scores")(layers.GlobalAveragePooling2D()(both))
    mask = layers.Conv2D(2, 1, activation="sigmoid", name="mask")(both)
    result = export(keras.Model([left, right], [scores, mask]))
    assert border(result) == [
        {"left": "[batch,8,8,3]", "right": "[batch,8,8,3]"},
        {"scores": "[batch,2]", "mask": "[batch,8,8,2]"},
    ]
    assert ops(result)["Transpose"] == 3, "one per input and output of four axes"
    names = {str(node.name) for node in result.model.graph}
    assert {"tower/conv/convolution", "tower/conv_1/convolution"} <= names, "it is called twice"


def test_dictionaries_give_the_names():
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    model = keras.Model({"a": a, "b": b}, {"sum": layers.Add()([a, b]), "copy": b})
    result = export(model)
    assert [set(side) for side in border(result)] == [{"a", "b"}, {"sum", "copy"}]


def test_inputs_that_nothing_reads_stay():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    result = export(keras.Model([a, b], layers.Dense(2, name="y")(a)))
    assert list(border(result)[0]) == ["a", "b"]


def test_recurrent_layers_are_single_nodes():
    model = keras.Sequential(
        [
            keras.Input((12, 5), name="x"),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.GRU(4, name="gru"),
            layers.Dense(3, name="y"),
        ]
    )
    found = ops(export(model))
    assert found["LSTM"] == 1 and found["GRU"] == 1
    assert not {"Loop", "Expand", "Shape", "ConstantOfShape"} & set(found)
    gru = model.get_layer("gru")
    assert "inner_loop" not in vars(gru) and "call" not in vars(gru.cell), "as they were"


def test_other_recurrences_stay_loops_and_compute_the_same():
    model = keras.Sequential(
        [keras.Input((6, 5), name="x"), layers.GRU(4, reset_after=False, name="gru")]
    )
    result = export(model)
    assert "Loop" in ops(result)
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-5


def test_text_arrives_as_one_gather():
    ids = keras.Input((16,), dtype="int32", name="ids")
    x = layers.Embedding(50, 8, name="table")(ids)
    x = layers.Dense(8, activation="gelu", name="dense")(x)
    result = export(keras.Model(ids, layers.GlobalAveragePooling1D(name="mean")(x)))
    found = ops(result)
    assert found["Gather"] == 1 and found["Gelu"] == 1
    assert not {"Where", "Less", "Erf"} & set(found)


def test_preprocessing_and_upsampling_layers():
    norm = layers.Normalization(axis=-1, mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])
    image = keras.Input((20, 24, 3), name="image")
    x = norm(layers.Resizing(12, 12)(image))
    x = layers.UpSampling2D(2, name="up")(layers.Conv2D(4, 3, activation="swish")(x))
    result = export(keras.Model(image, layers.Conv2DTranspose(3, 3, strides=2, name="y")(x)))
    found = ops(result)
    assert found["Resize"] == 2 and "Tile" not in found
    assert found["Transpose"] == 2, "input and output"


def test_grouped_convolutions_which_keras_has_xla_compile():
    image = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(8, 3, groups=2, padding="same", name="pairs")(image)
    x = layers.Conv2D(8, 3, groups=8, name="each")(x)
    result = export(keras.Model(image, layers.GlobalAveragePooling2D(name="y")(x)))
    assert ops(result) == {"Transpose": 1, "Conv": 2, "ReduceMean": 1}
    assert {"pairs/convolution", "each/convolution"} <= {n.name for n in result.model.graph}


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.conv = layers.Conv2D(4, 3, name="conv")
        self.drop = layers.Dropout(0.5)
        self.head = layers.Dense(2, name="head")

    def call(self, picture):
        features = self.drop(self.conv(picture))
        return {"scores": self.head(keras.ops.mean(features, axis=(1, 2)))}


def test_subclassed_model_that_was_called():
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), np.float32))
    result = export(model)
    assert border(result) == [{"picture": "[batch,8,8,3]"}, {"scores": "[batch,2]"}]
    assert {"conv/convolution", "head/MatMul"} <= {n.name for n in result.model.graph}


def test_subclassed_model_needs_shapes():
    with pytest.raises(UsageError, match=r"never built, and its call takes picture.*input_shapes"):
        export(Subclassed())
    result = export(Subclassed(), input_shapes={"picture": ["batch", 8, 8, 3]})
    assert list(border(result)[0]) == ["picture"]


def test_layers_alone_and_text_are_refused():
    with pytest.raises(ModelError, match=r"Dense.*is no Keras model.*keras\.Sequential"):
        open_source_model(layers.Dense(2), SourceOptions())
    words = keras.Input((1,), dtype="string", name="words")
    model = keras.Model(words, layers.TextVectorization(vocabulary=["a"])(words))
    with pytest.raises(ModelError, match="input 'words' takes text"):
        open_source_model(model, SourceOptions())


def test_operators_without_a_form_are_named():
    x = keras.Input((8,), name="x")
    model = keras.Model(x, keras.ops.erfinv(x))
    with pytest.raises(ModelError, match=r"node '.*': TensorFlow's operator Erfinv has no form"):
        open_source_model(model, SourceOptions())


def test_keras_2_models():
    with silent():
        old = pytest.importorskip("tf_keras")
    image = old.layers.Input((8, 8, 3), name="image")
    x = old.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")(image)
    x = old.layers.GlobalAveragePooling2D()(old.layers.Dropout(0.5)(x))
    result = export(old.Model(image, old.layers.Dense(2, name="scores")(x)))
    assert border(result) == [{"image": "[batch,8,8,3]"}, {"scores": "[batch,2]"}]
    assert ops(result)["Transpose"] == 1
    assert "conv/Relu" in {node.name for node in result.model.graph}
