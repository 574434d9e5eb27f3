"""`manifest.json`: written beside every artifact, read back when one is opened.

The bytes are deterministic: sorted keys, no time, no machine. `load_artifact` checks the files
against the manifest, so that a truncated copy is noticed before a runtime sees it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from edgewise.errors import ModelError, UsageError
from edgewise.files import files_below, sha256, staged
from edgewise.targets.base import Artifact, Manifest, Normalization, TensorSignature

MANIFEST_NAME = "manifest.json"


def publish(
    out_dir: str | Path,
    file_name: str,
    manifest: Manifest,
    write: Callable[[Path], None],
    beside: Mapping[str, bytes] | None = None,
) -> Artifact:
    """Write the artifact and its manifest into `out_dir`, both whole or not at all.

    Args:
        file_name: name of the artifact (a file or a folder) in `out_dir`.
        beside: files that belong to the artifact but are not loaded with it, by name; the
            manifest's options name them as `beside`.
        manifest: complete but for `files`, which are filled in from what `write` wrote.
        write: writes the artifact to the temporary path it is given; whatever it raises leaves
            `out_dir` as it was.

    Raises:
        UsageError: `out_dir` cannot be made or written, or the name is not a file's.
    """
    if Path(file_name).name != file_name or file_name.startswith("."):
        raise UsageError(f"'{manifest.name}' cannot be a file name", remedy="Choose another name.")
    out_dir = Path(out_dir)
    target = out_dir / file_name
    with ExitStack() as stack:
        staged_manifest = stack.enter_context(staged(out_dir / MANIFEST_NAME))
        files: dict[str, dict[str, Any]] = {}
        for name, content in (beside or {}).items():
            companion = stack.enter_context(staged(out_dir / name))
            companion.write_bytes(content)
            files |= describe_files([companion], companion.parent)
        staged_target = stack.enter_context(staged(target))
        write(staged_target)
        files |= describe_files([staged_target], staged_target.parent)
        options = {**manifest.options, "beside": sorted(beside)} if beside else manifest.options
        complete = replace(manifest, files=files, options=options)
        staged_manifest.write_bytes(manifest_bytes(complete))
    return Artifact(target, complete)


def manifest_bytes(manifest: Manifest) -> bytes:
    """UTF-8 JSON with sorted keys, two spaces of indentation and a final newline."""
    text = json.dumps(manifest.as_dict(), indent=2, sort_keys=True, ensure_ascii=False)
    return text.encode() + b"\n"


def describe_files(paths: Iterable[Path], base: Path) -> dict[str, dict[str, Any]]:
    """`{"size_bytes", "sha256"}` of each file, folders walked, by its posix path below `base`."""
    found = sorted({file for path in paths for file in files_below(path)})
    return {
        file.relative_to(base).as_posix(): {
            "size_bytes": file.stat().st_size,
            "sha256": sha256(file),
        }
        for file in found
    }


def tool_versions(*packages: str) -> dict[str, str]:
    """Version of Edgewise and of the named distributions, those not installed left out."""
    versions = {}
    for package in ("edgewise", *packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def load_artifact(path: str | Path) -> Artifact:
    """The artifact at `path`, which is the file (or `.mlpackage`) itself or the folder around it.

    Raises:
        UsageError: there is no such path, or no `manifest.json` beside the artifact.
        ModelError: the manifest is not valid, or a file is not the one that it describes.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError("no such artifact", where=str(path), remedy="Check the path.")
    folder = path if (path / MANIFEST_NAME).is_file() else path.parent
    manifest_path = folder / MANIFEST_NAME
    if not manifest_path.is_file():
        raise UsageError(
            f"no {MANIFEST_NAME} beside the artifact",
            where=str(path),
            remedy="Keep the artifact together with the manifest that it was written with.",
        )
    manifest = _read(manifest_path)
    artifact = folder / _artifact_name(manifest, manifest_path) if folder == path else path
    if artifact.name != _artifact_name(manifest, manifest_path):
        raise UsageError(
            "the manifest describes another artifact",
            where=str(path),
            why=f"it describes '{_artifact_name(manifest, manifest_path)}'",
        )
    _compare_files(manifest, folder)
    return Artifact(artifact, manifest)


def _read(path: Path) -> Manifest:
    try:
        return parse_manifest(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise _invalid(path, str(error)) from error


def parse_manifest(document: Any) -> Manifest:
    """A manifest from what JSON made of it. Raises ValueError where it is none."""
    expected = {field.name for field in fields(Manifest)}
    if not isinstance(document, dict) or set(document) != expected:
        raise ValueError(f"its keys must be {', '.join(sorted(expected))}")
    try:
        return Manifest(
            **{
                **document,
                "inputs": tuple(_signature(entry) for entry in document["inputs"]),
                "outputs": tuple(_signature(entry) for entry in document["outputs"]),
                "labels": tuple(document["labels"]),
            }
        )
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error


def _signature(entry: Mapping[str, Any]) -> TensorSignature:
    sequences = {key: tuple(entry[key]) for key in ("shape", "hub_shape", "perm")}
    numbers = entry.get("normalization")
    normalization = None
    if numbers is not None:
        normalization = Normalization(**{key: tuple(value) for key, value in numbers.items()})
    return TensorSignature(**{**entry, **sequences, "normalization": normalization})


def _artifact_name(manifest: Manifest, path: Path) -> str:
    """The one file, or the folder that holds all files, but for what lies beside it."""
    heads = {PurePosixPath(name).parts[0] for name in manifest.files}
    heads -= set(manifest.options.get("beside", ()))
    if len(heads) != 1:
        raise _invalid(path, f"it must describe one artifact, not {len(heads)}")
    return heads.pop()


def _compare_files(manifest: Manifest, folder: Path) -> None:
    for name, entry in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise _changed(file, "it is missing")
        if file.stat().st_size != entry["size_bytes"] or sha256(file) != entry["sha256"]:
            raise _changed(file, "its content is not what the manifest describes")


def _invalid(path: Path, why: str) -> ModelError:
    return ModelError(
        "not a valid manifest", where=str(path), why=why, remedy="Build the artifact again."
    )


def _changed(file: Path, why: str) -> ModelError:
    return ModelError(
        "the artifact is damaged", where=str(file), why=why, remedy="Build or copy it again."
    )
