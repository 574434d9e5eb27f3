"""Packages that are damaged, incomplete or of another kind: one error of one line, no crash."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.errors import EdgewiseError, ModelError, UnsupportedOperator, UsageError
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct
from edgewise.targets.apple.interpreter import Interpreter

_MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
_WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


@pytest.fixture
def package(save_mil: Callable[..., Path]) -> Path:
    """x [2, 40] -> doubled [2, 40], projected [2, 30]; the weight lives in weight.bin."""
    weight = np.arange(1200, dtype=np.float32).reshape(30, 40)

    def build(x: Any) -> list[Any]:
        doubled = mb.mul(x=x, y=np.float32(2), name="doubled")
        bounded = mb.relu(x=doubled, name="bounded")
        return [doubled, mb.linear(x=bounded, weight=weight, name="projected")]

    return save_mil(build, {"x": np.zeros((2, 40), np.float32)})


@pytest.fixture
def network(save_mil: Callable[..., Path]) -> Path:
    """x [1, 3, 16, 16] -> probabilities of 5; weights of three types, attributes of every kind."""
    generator = np.random.default_rng(0)
    first = generator.normal(size=(16, 3, 3, 3)).astype(np.float32)
    second = generator.integers(-127, 128, (8, 16, 3, 3)).astype(np.int8)
    last = generator.normal(size=(5, 8)).astype(np.float16)

    def build(x: Any) -> Any:
        x = mb.relu(x=mb.conv(x=x, weight=first, strides=[2, 2], pad_type="same"))
        x = mb.quantize(input=x, scale=np.float32(0.02), output_dtype="int8")
        x = mb.dequantize(input=x, scale=np.float32(0.02))
        weight = mb.constexpr_affine_dequantize(
            quantized_data=second,
            zero_point=np.int8(0),
            scale=np.full(8, 0.01, np.float32),
            axis=np.int32(0),
        )
        x = mb.max_pool(
            x=mb.conv(x=x, weight=weight, pad_type="custom", pad=[1, 1, 1, 1]),
            kernel_sizes=[2, 2],
            strides=[2, 2],
            pad_type="valid",
        )
        x = mb.cast(x=mb.reduce_mean(x=x, axes=[2, 3]), dtype="fp16")
        return mb.softmax(x=mb.linear(x=x, weight=last), axis=-1, name="probabilities")

    return save_mil(build, {"x": np.zeros((1, 3, 16, 16), np.float32)})


def test_an_operation_without_a_kernel_is_refused_at_load(save_mil: Any) -> None:
    def build(x: Any) -> Any:
        return mb.add(x=x, y=mb.random_normal(shape=np.array([3], np.int32), name="noise"))

    path = save_mil(build, {"x": np.zeros((2, 3), np.float32)})
    with pytest.raises(UnsupportedOperator) as caught:
        Interpreter(path)
    assert caught.value.op_type == "random_normal"
    assert "noise" in caught.value.node


def _edit(package: Path, change: Callable[[Any], None]) -> None:
    spec = ct.proto.Model_pb2.Model()
    spec.ParseFromString((package / _MODEL).read_bytes())
    change(spec)
    (package / _MODEL).write_bytes(spec.SerializeToString())


def _operations(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def test_an_unknown_operation_is_refused_by_name(package: Path) -> None:
    def rename(spec: Any) -> None:
        next(op for op in _operations(spec) if op.type == "relu").type = "frobnicate"

    _edit(package, rename)
    with pytest.raises(UnsupportedOperator, match=r"'bounded' \(frobnicate\)") as caught:
        Interpreter(package)
    assert caught.value.exit_code == 3


def test_a_weight_of_no_type(package: Path) -> None:
    def retype(spec: Any) -> None:
        (stored, *_) = [
            value
            for operation in _operations(spec)
            for value in operation.attributes.values()
            if value.WhichOneof("value") == "blobFileValue"
        ]
        stored.type.tensorType.dataType = 7

    _edit(package, retype)
    with pytest.raises(ModelError, match="is of type number 7, which the file has not"):
        Interpreter(package)


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such package"):
        Interpreter(tmp_path / "absent.mlpackage")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the package: Manifest\.json"):
        Interpreter(tmp_path)


def test_files_are_no_packages(package: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.mlpackage"
    file.write_text("text")
    with pytest.raises(ModelError, match="it is a file, and a package is a folder"):
        Interpreter(file)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", package)
    with pytest.raises(ModelError, match=r"it is an archive\. Unpack it"):
        Interpreter(archive)
    with pytest.raises(ModelError, match=r"not a package: it is a file"):
        Interpreter(package / _MODEL)


def test_a_compiled_model(tmp_path: Path) -> None:
    (tmp_path / "x.mlmodelc").mkdir()
    with pytest.raises(ModelError, match="compiled from"):
        Interpreter(tmp_path / "x.mlmodelc")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"rootModelIdentifier": "a", "itemInfoEntries": {}}', "\x00\x01"]
)
def test_a_damaged_manifest(package: Path, text: str) -> None:
    (package / "Manifest.json").write_text(text)
    with pytest.raises(ModelError, match=r"its Manifest\.json is damaged"):
        Interpreter(package)


def test_a_manifest_that_points_outside(package: Path) -> None:
    manifest = package / "Manifest.json"
    content = json.loads(manifest.read_text())
    content["itemInfoEntries"][content["rootModelIdentifier"]]["path"] = "../../secret"
    manifest.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="points outside"):
        Interpreter(package)


def test_a_missing_or_truncated_model(package: Path) -> None:
    model = package / _MODEL
    content = model.read_bytes()
    model.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="truncated or damaged"):
        Interpreter(package)
    model.write_bytes(b"")
    with pytest.raises(ModelError, match="not an ML Program: it holds nothing"):
        Interpreter(package)
    model.unlink()
    with pytest.raises(ModelError, match=r"model\.mlmodel"):
        Interpreter(package)


def test_another_kind_of_model(package: Path) -> None:
    def replace(spec: Any) -> None:
        spec.identity.SetInParent()

    _edit(package, replace)
    with pytest.raises(ModelError, match="it holds identity"):
        Interpreter(package)


def test_weights_are_checked(package: Path) -> None:
    """The one record stands at byte 64; its numbers at 128."""
    weights = package / _WEIGHTS
    sound = bytearray(weights.read_bytes())
    for position, value, message in [
        (64, 0, "no record where the program says"),
        (68, 1, "is not FLOAT32 in the file"),
        (72, 1, "another size"),
        (84, 1, "reaches behind the end of the file"),
    ]:
        damaged = sound.copy()
        damaged[position] ^= value or 1
        weights.write_bytes(damaged)
        with pytest.raises(ModelError, match=f"weight '.*'.*{message}"):
            Interpreter(package)
    weights.write_bytes(sound)

    def point_behind(spec: Any) -> None:
        for operation in _operations(spec):
            for value in operation.attributes.values():
                if value.WhichOneof("value") == "blobFileValue":
                    value.blobFileValue.offset = 1 << 40

    _edit(package, point_behind)
    with pytest.raises(ModelError, match="lies behind the end of the file"):
        Interpreter(package)


def test_missing_and_truncated_weights(package: Path) -> None:
    weights = package / _WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"cannot read the package: weight\.bin: weight"):
        Interpreter(package)
    weights.unlink()
    with pytest.raises(ModelError, match=r"cannot read the package: weight\.bin is missing"):
        Interpreter(package)


def test_a_missing_function(package: Path) -> None:
    def rename(spec: Any) -> None:
        spec.description.defaultFunctionName = "other"

    _edit(package, rename)
    with pytest.raises(ModelError, match="no function 'other'"):
        Interpreter(package)


def test_a_reference_to_nowhere(package: Path) -> None:
    def break_link(spec: Any) -> None:
        relu = next(op for op in _operations(spec) if op.type == "relu")
        relu.inputs["x"].arguments[0].name = "nowhere"

    _edit(package, break_link)
    with pytest.raises(ModelError, match=r"its program cannot be read.*nowhere"):
        Interpreter(package)


# ------------------------------------------------------------------------------- at random


def _damage(content: bytes, chance: random.Random) -> bytes:
    """Cut, flip bits, clear or insert bytes."""
    changed, place = bytearray(content), chance.randrange(len(content))
    kind = chance.choice(["cut", "flip", "flip", "clear", "insert"])
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        for _ in range(chance.choice([1, 4])):
            changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "clear":
        changed[place : place + 16] = bytes(len(changed[place : place + 16]))
    else:
        changed[place:place] = bytes(chance.randrange(256) for _ in range(3))
    return bytes(changed)


def _scalars(message: Any) -> Iterator[tuple[Any, Any, int | None]]:
    """Every number and text in a message: where it stands, its field, and its place in it."""
    for field, value in message.ListFields():
        entries = field.message_type
        if entries is not None and entries.GetOptions().map_entry:
            if entries.fields_by_name["value"].message_type is not None:
                for key in value:
                    yield from _scalars(value[key])
        elif entries is not None:
            for inner in value if field.is_repeated else [value]:
                yield from _scalars(inner)
        elif field.is_repeated:
            yield from ((message, field, place) for place in range(len(value)))
        else:
            yield message, field, None


def _alter(message: Any, field: Any, place: int | None, chance: random.Random) -> None:
    old = getattr(message, field.name) if place is None else getattr(message, field.name)[place]
    new: Any
    if isinstance(old, bool):
        new = not old
    elif isinstance(old, int):
        new = chance.choice([old + 1, old - 1, 0, -1, 7, 100_000, 2**31 - 1, 2**40])
    elif isinstance(old, float):
        new = chance.choice([0.0, -1.0, float("nan"), 1e30, 2 * old])
    elif isinstance(old, bytes):
        new = old[:-1]
    else:
        new = chance.choice(["", old + "x", "same", "custom", "reshape", old[:-1]])
    try:
        if place is None:
            setattr(message, field.name, new)
        else:
            getattr(message, field.name)[place] = new
    except ValueError:  # it does not fit the field: the message stays sound
        return


def _outcome(package: Path, feeds: dict[str, Any]) -> str:
    """`error` for an error of one line, else whether names and shapes of the outputs are there."""
    try:
        interpreter = Interpreter(package)
        outputs = interpreter.run(feeds)
    except EdgewiseError as error:
        assert "\n" not in str(error)
        assert error.exit_code == ModelError.exit_code
        return "error"
    assert list(outputs) == interpreter.output_names
    return "result"


_FEW, _MANY = 30, 300


@pytest.mark.parametrize("cases", [_FEW, pytest.param(_MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", ["Manifest.json", str(_MODEL), str(_WEIGHTS)])
def test_damaged_bytes(network: Path, file: str, cases: int) -> None:
    chance = random.Random(cases)
    content = (network / file).read_bytes()
    feeds = {"x": np.ones((1, 3, 16, 16), np.float32)}
    assert _outcome(network, feeds) == "result"
    outcomes = []
    for _ in range(cases // 3):
        (network / file).write_bytes(_damage(content, chance))
        outcomes.append(_outcome(network, feeds))
    assert "error" in outcomes


@pytest.mark.parametrize("cases", [_FEW, pytest.param(_MANY, marks=pytest.mark.slow)])
def test_wrong_numbers_and_names(network: Path, cases: int) -> None:
    chance = random.Random(cases)
    content = (network / _MODEL).read_bytes()
    feeds = {"x": np.ones((1, 3, 16, 16), np.float32)}
    outcomes = []
    for _ in range(cases):
        spec = ct.proto.Model_pb2.Model()
        spec.ParseFromString(content)
        _alter(*chance.choice(list(_scalars(spec.mlProgram))), chance)
        (network / _MODEL).write_bytes(spec.SerializeToString())
        outcomes.append(_outcome(network, feeds))
    assert outcomes.count("error") > cases // 3
