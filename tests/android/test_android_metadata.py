"""TFLite Metadata, read back by a reader of its own from the published schema."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgewise.targets.android import TARGET
from edgewise.targets.base import About, EmitOptions

#: tables of metadata_schema.fbs: their fields in order, with the kind of each
TABLES: dict[str, list[tuple[str, str]]] = {
    "ModelMetadata": [
        ("name", "string"),
        ("description", "string"),
        ("version", "string"),
        ("subgraph_metadata", "[SubGraphMetadata]"),
        ("author", "string"),
        ("license", "string"),
        ("associated_files", "[AssociatedFile]"),
        ("min_parser_version", "string"),
    ],
    "SubGraphMetadata": [
        ("name", "string"),
        ("description", "string"),
        ("input_tensor_metadata", "[TensorMetadata]"),
        ("output_tensor_metadata", "[TensorMetadata]"),
    ],
    "TensorMetadata": [
        ("name", "string"),
        ("description", "string"),
        ("dimension_names", "[string]"),
        ("content", "Content"),
        ("process_units", "[ProcessUnit]"),
        ("stats", "Stats"),
        ("associated_files", "[AssociatedFile]"),
    ],
    "Content": [("type", "byte"), ("properties", "ImageProperties")],
    "ImageProperties": [("color_space", "byte"), ("default_size", "ImageSize")],
    "ImageSize": [("width", "uint"), ("height", "uint")],
    "ProcessUnit": [("type", "byte"), ("options", "NormalizationOptions")],
    "NormalizationOptions": [("mean", "[float]"), ("std", "[float]")],
    "Stats": [("max", "[float]"), ("min", "[float]")],
    "AssociatedFile": [("name", "string"), ("description", "string"), ("type", "byte")],
}
SIZE = (10, 12)


def _read(content: bytes, position: int, name: str) -> dict[str, Any]:
    table = flatbuffers.table.Table(bytearray(content), position)
    found = {}
    for index, (field, kind) in enumerate(TABLES[name]):
        offset = table.Offset(4 + 2 * index)
        if offset:
            found[field] = _value(content, table, offset, kind)
    return found


def _value(content: bytes, table: Any, offset: int, kind: str) -> Any:
    at = table.Pos + offset
    if kind == "string":
        return table.String(at).decode()
    if kind in ("byte", "uint"):
        return int(np.frombuffer(content, np.int8 if kind == "byte" else np.uint32, 1, at)[0])
    if kind == "[float]":
        count = table.VectorLen(offset)
        return np.frombuffer(content, np.float32, count, table.Vector(offset)).tolist()
    if kind.startswith("["):
        start = table.Vector(offset)
        places = [start + 4 * k for k in range(table.VectorLen(offset))]
        return [_read(content, table.Indirect(place), kind[1:-1]) for place in places]
    return _read(content, table.Indirect(at), kind)


def _metadata(path: Path) -> dict[str, Any]:
    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()))
    entry = next(e for e in model.metadata if e.name == b"TFLITE_METADATA")
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    root = flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0)
    return _read(content, root, "ModelMetadata")


def _ends(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    (graph,) = _metadata(path)["subgraph_metadata"]
    return graph["input_tensor_metadata"][0], graph["output_tensor_metadata"][0]


def _float_model(kit: Any, channels: int = 3) -> Any:
    x = {"image": np.zeros((1, channels, *SIZE), np.float32)}
    nodes = [kit.node("GlobalMaxPool", ["image"], ["m"]), kit.node("Flatten", ["m"], ["scores"])]
    return kit.model(nodes, x, {"scores": np.float32})


def _int8_model(kit: Any) -> Any:
    x = {"image": np.zeros((1, 3, *SIZE), np.float32)}
    parameters = {"image": (0.02, -3)}
    layer = kit.node("GlobalMaxPool", ["image"], ["scores"])
    return kit.int8_model(layer, x, (0.02, -3), input_parameters=parameters)


PREPROCESSING = {"color": "rgb", "mean": (127.0, 128.0, 129.0), "std": (1.0, 2.0, 4.0)}


def test_the_model_says_what_its_user_says(kit: Any, tmp_path: Path) -> None:
    about = About("Tells flowers.", "1.2", "Ana & Bo", "Apache-2.0")
    options = EmitOptions(name="flowers", about=about)
    found = _metadata(TARGET.emit(_float_model(kit), tmp_path, options=options).path)
    texts = {key: value for key, value in found.items() if isinstance(value, str)}
    assert texts == {
        "name": "flowers",
        "description": "Tells flowers.",
        "version": "1.2",
        "author": "Ana & Bo",
        "license": "Apache-2.0",
        "min_parser_version": "1.0.0",
    }


def test_nothing_is_claimed_that_nobody_said(kit: Any, tmp_path: Path) -> None:
    path = TARGET.emit(_float_model(kit), tmp_path).path
    assert set(_metadata(path)) == {"name", "subgraph_metadata", "min_parser_version"}
    source, result = _ends(path)
    assert set(source) == set(result) == {"name", "description", "content"}
    assert (source["name"], result["name"]) == ("image", "scores")
    assert source["content"] == {"type": 1, "properties": {}}
    assert source["description"] == "float32, NHWC 1x10x12x3"
    assert not zipfile.is_zipfile(path)


def test_a_picture(kit: Any, tmp_path: Path) -> None:
    options = EmitOptions(preprocessing=PREPROCESSING)
    source, _ = _ends(TARGET.emit(_float_model(kit), tmp_path, options=options).path)
    assert source["process_units"] == [
        {"type": 1, "options": {"mean": [127.0, 128.0, 129.0], "std": [1.0, 2.0, 4.0]}}
    ]
    assert source["content"] == {
        "type": 2,
        "properties": {"color_space": 1, "default_size": {"width": 12, "height": 10}},
    }
    assert source["stats"] == {"min": [-127.0, -64.0, -32.25], "max": [128.0, 63.5, 31.5]}
    assert source["description"] == (
        "picture, RGB, (value - [127, 128, 129]) / [1, 2, 4] of values 0 to 255; "
        "float32, NHWC 1x10x12x3"
    )


@pytest.mark.parametrize(("color", "channels", "code"), [("gray", 1, 2), ("bgr", 3, None)])
def test_colour_spaces(kit: Any, tmp_path: Path, color: str, channels: int, code: Any) -> None:
    """The schema has no BGR: it stays unknown there, and is said in words."""
    options = EmitOptions(preprocessing={"color": color, "mean": 0.0, "std": 255.0})
    path = TARGET.emit(_float_model(kit, channels), tmp_path, options=options).path
    source, _ = _ends(path)
    assert source["content"]["properties"].get("color_space") == code
    assert source["description"].startswith(f"picture, {color.upper()}, (value - [0]) / [255]")
    assert source["process_units"][0]["options"] == {"mean": [0.0], "std": [255.0]}


def test_the_size_of_an_nchw_picture(kit: Any, tmp_path: Path) -> None:
    options = EmitOptions(preprocessing=PREPROCESSING, options={"layout": "NCHW"})
    source, _ = _ends(TARGET.emit(_float_model(kit), tmp_path, options=options).path)
    assert source["content"]["properties"]["default_size"] == {"width": 12, "height": 10}
    assert source["description"].endswith("float32, NCHW 1x3x10x12")


def test_quantized_ends(kit: Any, tmp_path: Path) -> None:
    options = EmitOptions(preprocessing=PREPROCESSING)
    path = TARGET.emit(_int8_model(kit), tmp_path / "int8", "w8a8", options=options).path
    source, result = _ends(path)
    assert source["stats"]["min"] == [-127.0, -64.0, -32.25]
    assert np.allclose([result["stats"]["min"], result["stats"]["max"]], [[-2.5], [2.6]])
    assert result["description"] == "int8, NHWC 1x1x1x3, q stands for 0.02 * (q +3)"
    unsigned = EmitOptions(preprocessing=PREPROCESSING, options={"io": "uint8"})
    path = TARGET.emit(_int8_model(kit), tmp_path / "uint8", "w8a8", options=unsigned).path
    for end in _ends(path):
        assert end["stats"] == {"min": [0.0], "max": [255.0]}


def test_pixels_that_the_file_normalizes_itself(kit: Any, tmp_path: Path) -> None:
    preprocessing = {**PREPROCESSING, "color": "bgr", "layout": "nchw"}
    options = EmitOptions(preprocessing=preprocessing, options={"fold_preprocessing": True})
    source, _ = _ends(TARGET.emit(_float_model(kit), tmp_path, options=options).path)
    assert source["content"]["properties"]["color_space"] == 1
    assert source["stats"] == {"min": [0.0], "max": [255.0]}
    assert source["process_units"][0]["options"] == {"mean": [0.0], "std": [1.0]}
    assert source["description"] == "picture, RGB, values 0 to 255; uint8, NHWC 1x10x12x3"


def test_labels_are_a_file_behind_the_model(kit: Any, tmp_path: Path) -> None:
    options = EmitOptions(labels=("chat", "été", "chien"))
    path = TARGET.emit(_float_model(kit), tmp_path, options=options).path
    _, result = _ends(path)
    (file,) = result["associated_files"]
    assert (file["name"], file["type"]) == ("labels.txt", 2)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode() == "chat\nété\nchien\n"
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
    x = np.ones((1, 3, *SIZE), np.float32)
    assert TARGET.open(tmp_path).run({"image": x})["scores"].shape == (1, 3)


def test_the_same_options_give_the_same_bytes(kit: Any, tmp_path: Path) -> None:
    options = EmitOptions(
        labels=("a", "b", "c"), preprocessing=PREPROCESSING, about=About("d", "1", "a", "l")
    )
    paths = [TARGET.emit(_float_model(kit), tmp_path / n, options=options).path for n in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_only_the_first_input_is_the_picture(kit: Any, tmp_path: Path) -> None:
    x = {name: np.zeros((1, 3, *SIZE), np.float32) for name in ("image", "other")}
    source = kit.model([kit.node("Add", list(x), ["y"])], x, {"y": np.float32})
    options = EmitOptions(preprocessing=PREPROCESSING)
    (graph,) = _metadata(TARGET.emit(source, tmp_path, options=options).path)["subgraph_metadata"]
    kinds = [tensor["content"]["type"] for tensor in graph["input_tensor_metadata"]]
    assert kinds == [2, 1]
