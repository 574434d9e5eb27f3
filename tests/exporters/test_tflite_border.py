"""Names, signatures and sizes of TFLite files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_models import converted, edited

from edgewise.errors import ModelError, UsageError
from edgewise.exporters import SourceOptions, export

tf = pytest.importorskip("tensorflow")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
WEIGHTS = np.random.default_rng(5).standard_normal((8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def content() -> bytes:
    """`scores` and `hidden` of `image` (any number of rows of 8)."""

    def net(image: Any) -> dict[str, Any]:
        hidden = tf.nn.relu(image)
        return {"scores": tf.nn.softmax(hidden @ WEIGHTS), "hidden": hidden}

    return converted(net, {"image": (None, 8)})


@pytest.fixture
def written(tmp_path: Path, content: bytes) -> Any:
    def write(edit: Any = None) -> Path:
        path = tmp_path / "model.tflite"
        path.write_bytes(content if edit is None else edited(content, edit))
        return path

    return write


def border(model: Any) -> tuple[list[Any], list[Any]]:
    sides = model.graph.inputs, model.graph.outputs
    return tuple([(v.name, [str(d) for d in v.shape]) for v in side] for side in sides)  # type: ignore[return-value]


def test_names_are_those_of_the_signature_and_the_batch_is_one(written: Any) -> None:
    inputs, outputs = border(export(written()).model)
    assert inputs == [("image", ["1", "8"])]
    assert dict(outputs) == {"hidden": ["1", "8"], "scores": ["1", "3"]}


def test_names_of_tensors_without_a_signature(written: Any) -> None:
    def strip(model: Any) -> None:
        model.signatureDefs = None
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].name = "serving_default_image:0"
        for place, index in enumerate(graph.outputs):
            graph.tensors[index].name = f"StatefulPartitionedCall:{place}"

    inputs, outputs = border(export(written(strip)).model)
    assert inputs == [("serving_default_image:0", ["1", "8"])]
    assert [name for name, _ in outputs] == [
        "StatefulPartitionedCall:0",
        "StatefulPartitionedCall:1",
    ]


@pytest.mark.parametrize(("given", "size"), [(5, "5"), ("batch", "batch")])
def test_a_free_size_is_chosen(written: Any, given: Any, size: str) -> None:
    result = export(written(), input_shapes={"image": (given, 8)})
    inputs, outputs = border(result.model)
    assert inputs == [("image", [size, "8"])]
    assert dict(outputs)["scores"] == [size, "3"]
    assert result.parity.max_rel_error is not None


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"picture": (1, 8)}, "no input 'picture'.*inputs are image"),
        ({"image": (1, 9)}, r"cannot have the shape \[1, 9\].*\[\?, 8\]"),
        ({"image": (8,)}, r"cannot have the shape \[8\]"),
    ],
)
def test_shapes_that_do_not_fit(written: Any, shapes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export(written(), input_shapes=shapes)


def test_one_of_several_signatures(tmp_path: Path) -> None:
    from edgewise.exporters.quiet import quiet

    module = tf.Module()
    spec = [tf.TensorSpec((1, 4), tf.float32, name="x")]
    module.double = tf.function(lambda x: {"y": x * 2.0}, input_signature=spec)
    module.negate = tf.function(lambda x: {"z": -x}, input_signature=spec)
    with quiet():
        folder = str(tmp_path / "saved")
        signatures = {"double": module.double, "negate": module.negate}
        tf.saved_model.save(module, folder, signatures=signatures)
        data = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    path = tmp_path / "two.tflite"
    path.write_bytes(data)
    for key, node in (("double", "Mul"), ("negate", "Neg")):
        result = export(path, options=SourceOptions(signature=key))
        assert [one.op_type for one in result.model.graph] in ([node], ["Add"])
        assert result.parity.max_rel_error == 0.0
    with pytest.raises(UsageError, match=r"several signatures: double, negate.*--signature"):
        export(path)
    with pytest.raises(UsageError, match=r"no signature 'other': the file has double, negate"):
        export(path, options=SourceOptions(signature="other"))


def rename_code(name: str) -> Any:
    def edit(model: Any) -> None:
        code = model.operatorCodes[0]
        code.deprecatedBuiltinCode = code.builtinCode = 32  # CUSTOM
        code.customCode = name

    return edit


def sparse(model: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model.subgraphs[0].tensors[0].sparsity = schema.SparsityParametersT()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rename_code("MyDetector"), r"operator MyDetector cannot be read.*custom operator"),
        (rename_code("FlexErf"), r"operator Erf cannot be read.*Select TF ops"),
        (sparse, "sparse weights are not read"),
    ],
)
def test_refused_by_name(written: Any, edit: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        export(written(edit))
    assert "tensor '" in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, content: bytes, share: float) -> None:
    path = tmp_path / "short.tflite"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"short\.tflite: (cannot read|LiteRT)") as caught:
        export(path)
    assert "\n" not in str(caught.value)


def test_something_else(tmp_path: Path) -> None:
    path = tmp_path / "text.tflite"
    path.write_text("this is no model at all")
    with pytest.raises(ModelError, match="identifier TFL3"):
        export(path)
