"""Reading models: every way a file can be wrong gives its own clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise import graph
from edgewise.errors import ModelError, UsageError


def model_with_weight(size: int = 64) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.arange(size, dtype=np.float32), "w")
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Add", ["x", "w"], ["y"], name="add")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size])],
            [weight],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )


def save_with_external_data(folder: Path) -> Path:
    """`big.onnx` with its one weight in `w.bin`."""
    path = folder / "big.onnx"
    proto = model_with_weight(2000)
    onnx.save_model(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        graph.load(tmp_path / "absent.onnx")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        graph.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file\n", b"\x00" * 100, b"\xff" * 9])
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot read the model") as caught:
        graph.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated(tmp_path: Path, share: float) -> None:
    data = model_with_weight(1000).SerializeToString()
    path = tmp_path / "short.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="cannot read the model"):
        graph.load(path)


def test_external_data_is_read(tmp_path: Path) -> None:
    path = save_with_external_data(tmp_path)
    loaded = graph.load(path)
    weight = loaded.graph.initializers["w"].const_value
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), np.arange(2000, dtype=np.float32))


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 8000)
    folder = tmp_path / "model"
    folder.mkdir()
    proto = model_with_weight(2000)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="outside the model's folder"):
        graph.load(folder / "m.onnx")


def test_missing_external_data(tmp_path: Path) -> None:
    path = save_with_external_data(tmp_path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"missing file 'w\.bin'"):
        graph.load(path)


def test_save_is_deterministic_and_round_trips(tmp_path: Path) -> None:
    model = ir.from_proto(model_with_weight())
    graph.save(model, tmp_path / "a.onnx")
    graph.save(graph.load(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_large_model_keeps_its_weights_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewise.graph import io

    monkeypatch.setattr(io, "_EXTERNAL_ABOVE_BYTES", 1)
    model = ir.from_proto(model_with_weight(2000))
    graph.save(model, tmp_path / "large.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.data", "large.onnx"]
    weight = graph.load(tmp_path / "large.onnx").graph.initializers["w"].const_value
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), np.arange(2000, dtype=np.float32))
