"""Files of Keras 3 and Keras 2, and those that are refused."""

from __future__ import annotations

import sys
import textwrap

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


def small(*more):
    return keras.Sequential([keras.Input((6,), name="x"), *more, layers.Dense(2, name="y")])


def refuse(path, match, error=ModelError, **options):
    with pytest.raises(error, match=match) as caught:
        open_source_model(path, SourceOptions(**options))
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_whole_models(tmp_path, suffix):
    model, path = small(layers.BatchNormalization()), tmp_path / f"model{suffix}"
    with silent():
        model.save(path)
    result = export(path)
    assert [value.name for value in result.model.graph.inputs] == ["x"]
    assert [value.name for value in result.model.graph.outputs] == ["y"]
    assert result.source_kind == "keras" and not result.findings
    x = np.random.default_rng(0).standard_normal((3, 6), np.float32)
    run = open_source_model(path, SourceOptions()).open_runner()
    np.testing.assert_allclose(run({"x": x})[0], np.asarray(model(x)), rtol=1e-6)


@pytest.mark.parametrize("name", ["model.weights.h5", "model.h5"])
def test_weights_alone(tmp_path, name):
    with silent():
        small().save_weights(tmp_path / "model.weights.h5")
    (tmp_path / "model.weights.h5").rename(tmp_path / name)
    refuse(tmp_path / name, "holds weights without a model.*package.module:factory")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("part", [0, 100, 0.5])
def test_truncated_files(tmp_path, suffix, part):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    with silent():
        small().save(whole)
    content = whole.read_bytes()
    path.write_bytes(content[: int(part if part != 0.5 else len(content) / 2)])
    refuse(path, "cannot read the model: it is truncated")


def test_damaged_parts_of_an_archive(tmp_path):
    path = tmp_path / "model.keras"
    with silent():
        small().save(path)
    content = bytearray(path.read_bytes())
    middle = content.find(b"model.weights.h5") + 400
    content[middle : middle + 8] = b"\xff" * 8
    path.write_bytes(content)
    refuse(path, "its part model.weights.h5 is damaged")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_is_refused_unless_it_is_allowed(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    with silent():
        small(layers.Lambda(lambda x: 2 * x, name="twice")).save(path)
    text = refuse(path, "the file holds code: layer 'twice' is Python bytecode")
    assert "--allow-code" in text and "can run anything on this machine" in text
    model = open_source_model(path, SourceOptions(allow_code=True))
    x = np.ones((1, 6), np.float32)
    assert model.open_runner()({"x": x})[0].shape == (1, 2)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_that_nobody_registered(tmp_path, suffix):
    class Odd(layers.Layer):
        def call(self, x):
            return x + 1

    path = tmp_path / f"model{suffix}"
    with silent():
        small(Odd(name="odd")).save(path)
    text = refuse(path, "the class 'Odd' is not known")
    assert "register_keras_serializable" in text and "package.module:factory" in text


def test_a_factory_that_registers_its_layers(tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            from pathlib import Path
            import keras

            @keras.saving.register_keras_serializable()
            class PlusOne(keras.layers.Layer):
                def call(self, x):
                    return x + 1

            def save():
                x = keras.Input((4,), name="x")
                keras.Model(x, PlusOne(name="y")(x)).save(Path(__file__).with_name("mine.keras"))

            def model():
                return keras.models.load_model(Path(__file__).with_name("mine.keras"))
            """
        )
    )
    sys.path.insert(0, str(tmp_path))
    try:
        with silent():
            import mine

            mine.save()
        result = export("mine:model", base=tmp_path)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("mine", None)
    assert [node.op_type for node in result.model.graph] == ["Add"]


@pytest.fixture(scope="module")
def old_file(tmp_path_factory):
    """A depthwise convolution, whose `groups` Keras 3 does not take."""
    with silent():
        old = pytest.importorskip("tf_keras")
        model = old.Sequential(
            [
                old.layers.Input((8, 8, 3), name="image"),
                old.layers.DepthwiseConv2D(3, name="depthwise"),
                old.layers.Flatten(),
                old.layers.Dense(2, name="y"),
            ]
        )
        path = tmp_path_factory.mktemp("old") / "old.h5"
        model.save(path)
    return path


def test_files_that_keras_3_refuses(old_file):
    result = export(old_file)
    found = [finding for finding in result.findings if finding.rule == "export/legacy-keras"]
    assert len(found) == 1 and "tf_keras" in found[0].message and "groups" in found[0].message
    assert {"depthwise/depthwise", "y/MatMul"} <= {n.name for n in result.model.graph}


def test_files_that_keras_3_refuses_need_keras_2(old_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    text = refuse(old_file, "need tf_keras", UsageError)
    assert "Keras 2" in text and "pip install 'edgewise[keras2]'" in text


@pytest.mark.parametrize("missing", ["tensorflow", "tf2onnx"])
def test_missing_extras(tmp_path, monkeypatch, missing):
    path = tmp_path / "model.keras"
    with silent():
        small().save(path)
    monkeypatch.setitem(sys.modules, missing, None)
    text = refuse(path, f"Keras models need {missing}", UsageError)
    assert "pip install 'edgewise[tensorflow]'" in text
