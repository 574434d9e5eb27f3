"""A saved ML Program, read from an `.mlpackage` into coremltools' in-memory form."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.protobuf.message

from edgewise.errors import ModelError, UnsupportedOperator, UsageError
from edgewise.targets.apple._coremltools import ct, quiet
from edgewise.targets.apple.flexible.sizes import FlexibleShape
from edgewise.targets.apple.interpreter.compressed import EXPAND
from edgewise.targets.apple.interpreter.images import ImageInput, image_inputs
from edgewise.targets.apple.interpreter.nested import BLOCK_OPERATIONS
from edgewise.targets.apple.interpreter.optional import default_values
from edgewise.targets.apple.interpreter.refused import REFUSED
from edgewise.targets.apple.interpreter.sizes import input_sizes
from edgewise.targets.apple.interpreter.weight_file import fault

#: what this interpreter is called in errors
TARGET = "the Core ML interpreter"
#: operation in the file -> operation that coremltools reads it as
_IN_MEMORY = {"write_state": "coreml_update_state"}


@dataclass(frozen=True, slots=True)
class LoadedFunction:
    """One function of a package: as MIL, with its weights read in, which inputs are images, what
    fills those that may be left out, and which have several sizes; and of the package the version
    of its specification, the names of all functions, and its metadata."""

    function: Any
    images: Mapping[str, ImageInput]
    defaults: Mapping[str, float]
    sizes: Mapping[str, FlexibleShape]
    specification_version: int
    functions: tuple[str, ...]
    metadata: Mapping[str, str]


def load_program(
    path: str | Path, supported: Container[str] | None, name: str | None = None
) -> LoadedFunction:
    """A function of the package.

    Args:
        path: the `.mlpackage` folder.
        supported: the operations, beside constants, that can be executed; None: it is not to be.
        name: of the function; the package's default one without.

    Raises:
        UsageError: there is nothing at `path`, or no such function in it.
        UnsupportedOperator: an operation is none of `supported`.
        ModelError: the package is incomplete, damaged, or holds no ML Program.
    """
    package = Path(path)
    _check_kind(package)
    model_file = _model_file(package)
    spec = _parse(model_file, package)
    functions = tuple(sorted(spec.mlProgram.functions))
    name = _choose(spec, name, package)
    specialization = spec.mlProgram.functions[name]
    if specialization.opset not in specialization.block_specializations:
        raise _broken(package, f"function '{name}' has no operations for its own version")
    block = specialization.block_specializations[specialization.opset]
    if supported is not None:
        _check_operations(block, supported)
    weights = model_file.parent / "weights"
    if why := fault(block, weights):
        raise _broken(package, why)
    try:
        with quiet():
            from coremltools.converters.mil.frontend.milproto.load import load as load_milproto

            program = load_milproto(
                spec,
                specification_version=spec.specificationVersion,
                file_weights_dir=str(weights),
            )
    except Exception as error:  # coremltools raises whatever its assertions and readers raise
        raise _broken(package, f"its program cannot be read ({_first_line(error)})") from error
    described = {function.name: function for function in spec.description.functions}
    description = described.get(name, spec.description)
    function = program.functions[name]
    return LoadedFunction(
        function,
        image_inputs(description),
        default_values(description),
        input_sizes(description),
        spec.specificationVersion,
        functions,
        dict(spec.description.metadata.userDefined),
    )


def _check_kind(package: Path) -> None:
    """Refuse what is no folder of a package by its own name."""
    if not package.exists():
        raise UsageError("no such package", where=str(package), remedy="Check the path.")
    if package.suffix == ".mlmodelc":
        raise ModelError(
            "a compiled model cannot be read",
            where=str(package),
            remedy="Give the .mlpackage that it was compiled from.",
        )
    if package.is_file():
        packed = zipfile.is_zipfile(package)
        raise ModelError(
            "not a package",
            where=str(package),
            why="it is an archive" if packed else "it is a file, and a package is a folder",
            remedy="Unpack it." if packed else "Give a .mlpackage with an ML Program.",
        )


def _choose(spec: Any, wanted: str | None, package: Path) -> str:
    """The name of the function to load; the others are dropped, so that they cost nothing."""
    functions = spec.mlProgram.functions
    name = wanted or spec.description.defaultFunctionName or "main"
    if name not in functions:
        if wanted is None:
            raise _broken(package, f"it has no function '{name}'")
        raise UsageError(
            f"no function '{wanted}'",
            where=str(package),
            remedy=f"It has {', '.join(sorted(functions))}.",
        )
    for other in set(functions) - {name}:
        del functions[other]
    return str(name)


def _model_file(package: Path) -> Path:
    """The specification that `Manifest.json` names as the root model."""
    manifest = package / "Manifest.json"
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        root = entries["itemInfoEntries"][entries["rootModelIdentifier"]]["path"]
    except OSError as error:
        raise _broken(package, f"Manifest.json: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(package, "its Manifest.json is damaged") from error
    data = package / "Data"
    model_file = data / str(root)
    if not model_file.resolve().is_relative_to(data.resolve()):
        raise _broken(package, "its Manifest.json points outside the package")
    return model_file


def _parse(model_file: Path, package: Path) -> Any:
    spec = ct.proto.Model_pb2.Model()
    try:
        spec.ParseFromString(model_file.read_bytes())
    except OSError as error:
        raise _broken(package, f"{model_file.name}: {error.strerror}") from error
    except google.protobuf.message.DecodeError as error:
        raise _broken(package, f"{model_file.name} is truncated or damaged") from error
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise ModelError(
            "not an ML Program",
            where=str(package),
            why=f"it holds {'nothing' if kind is None else kind}",
            remedy="Convert the model to an ML Program.",
        )
    return spec


def _check_operations(block: Any, supported: Container[str]) -> None:
    """Refuse what cannot be executed by its own name, before coremltools stumbles over it."""
    for operation in block.operations:
        constant = operation.type == "const" or operation.type in EXPAND
        known = _IN_MEMORY.get(operation.type, operation.type)
        for inner in operation.blocks:
            _check_operations(inner, supported)
        if not constant and known not in supported and known not in BLOCK_OPERATIONS:
            raise UnsupportedOperator(
                next((output.name for output in operation.outputs), ""),
                operation.type,
                target=TARGET,
                why=REFUSED.get(operation.type, "it has no kernel for it"),
                remedy="Run the package on a Mac.",
            )


def _broken(package: Path, why: str) -> ModelError:
    return ModelError(
        "cannot read the package", where=str(package), why=why, remedy="Build it again."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    kind = type(error).__name__
    return f"{kind}: {lines[0]}" if lines else kind
