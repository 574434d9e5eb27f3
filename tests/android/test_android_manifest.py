"""The manifest that every target writes: round trip, determinism, and damaged artifacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgewise.errors import ModelError, UsageError
from edgewise.targets.base import Manifest, TensorSignature
from edgewise.targets.manifest import MANIFEST_NAME, load_artifact, manifest_bytes, publish

SIGNATURE = TensorSignature(
    name="x",
    file_name="serving_x",
    shape=(1, 8, 8, 3),
    dtype="int8",
    layout="NHWC",
    hub_shape=(1, 3, 8, 8),
    hub_dtype="float32",
    perm=(0, 2, 3, 1),
    scale=0.0392156862745098,
    zero_point=-3,
)


def _manifest(**changes: object) -> Manifest:
    values = {
        "name": "net",
        "target": "android",
        "precision": "w8a8",
        "inputs": (SIGNATURE,),
        "outputs": (SIGNATURE,),
        "files": {},
        "versions": {"edgewise": "0.1.0"},
        "labels": ("chat", "été"),
        "preprocessing": {"mean": [1.0]},
        "options": {"io": "int8"},
    }
    return Manifest(**{**values, **changes})


def _write_file(path: Path) -> None:
    path.write_bytes(b"content")


def _write_folder(path: Path) -> None:
    (path / "Data").mkdir(parents=True)
    (path / "Manifest.json").write_text("{}")
    (path / "Data" / "weights.bin").write_bytes(b"\x01\x02")


def test_a_file_round_trips_from_itself_and_from_its_folder(tmp_path: Path) -> None:
    written = publish(tmp_path, "net.tflite", _manifest(), _write_file)
    assert load_artifact(tmp_path) == written
    assert load_artifact(tmp_path / "net.tflite") == written
    assert written.size_bytes == 7


def test_a_folder_round_trips(tmp_path: Path) -> None:
    written = publish(tmp_path, "net.mlpackage", _manifest(), _write_folder)
    assert list(written.manifest.files) == [
        "net.mlpackage/Data/weights.bin",
        "net.mlpackage/Manifest.json",
    ]
    assert load_artifact(tmp_path / "net.mlpackage") == load_artifact(tmp_path) == written


def test_bytes_are_sorted_readable_and_stable() -> None:
    content = manifest_bytes(_manifest())
    assert content == manifest_bytes(_manifest())
    assert list(json.loads(content)) == sorted(json.loads(content))
    assert "été" in content.decode()


def test_a_failing_writer_leaves_the_previous_artifact(tmp_path: Path) -> None:
    publish(tmp_path, "net.tflite", _manifest(), _write_file)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, "net.tflite", _manifest(), fail)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_damage_is_named(tmp_path: Path) -> None:
    path = publish(tmp_path, "net.tflite", _manifest(), _write_file).path
    path.write_bytes(b"Content")
    with pytest.raises(ModelError, match=r"net\.tflite: the artifact is damaged"):
        load_artifact(path)
    path.unlink()
    with pytest.raises(ModelError, match="it is missing"):
        load_artifact(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1'])
def test_an_invalid_manifest_is_named(tmp_path: Path, text: str) -> None:
    publish(tmp_path, "net.tflite", _manifest(), _write_file)
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(ModelError, match="not a valid manifest"):
        load_artifact(tmp_path)


def test_missing_paths_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such artifact"):
        load_artifact(tmp_path / "absent.tflite")
    (tmp_path / "alone.tflite").write_bytes(b"")
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        load_artifact(tmp_path / "alone.tflite")
