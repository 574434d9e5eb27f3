"""The `.mlpackage` folder, byte for byte the same each time.

Layout, as Core ML reads it:
```
Manifest.json                                 which item is the model, which the weights
Data/com.apple.CoreML/model.mlmodel           protobuf message CoreML.Specification.Model
Data/com.apple.CoreML/weights/weight.bin      the constants, 64-byte aligned
```
coremltools gives the items random UUIDs, stamps the date and serializes maps in hash order. Here
the identifiers are name-based UUIDs (RFC 9562, version 5) of the item paths, the date is dropped,
and the message is serialized deterministically.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.errors import InternalError, ModelError
from edgewise.targets.apple._coremltools import Function, ct, quiet
from edgewise.targets.apple.classifier import Classifier
from edgewise.targets.apple.deployment import core_ml_target
from edgewise.targets.apple.flexible.sizes import FlexibleShape
from edgewise.targets.apple.interface import Interface
from edgewise.targets.apple.lower import LoweredProgram
from edgewise.targets.apple.metadata import sign
from edgewise.targets.apple.pass_runner import passes_alone
from edgewise.targets.apple.passes import pipeline
from edgewise.targets.apple.program_view import ProgramView, origins_of, read_program
from edgewise.targets.base import About

_AUTHOR = "com.apple.CoreML"
MODEL_PATH = f"{_AUTHOR}/model.mlmodel"
WEIGHTS_PATH = f"{_AUTHOR}/weights"
WEIGHTS_FILE = "weight.bin"
#: what coremltools records that differs from day to day or says nothing about the model
_VOLATILE_METADATA = (
    "com.github.apple.coremltools.conversion_date",
    "com.github.apple.coremltools.source",
)


def convert(
    lowered: LoweredProgram, compute: str, folder: Path, classifier: Classifier | None = None
) -> tuple[Any, list[str], Function]:
    """Run the passes; gives the Core ML specification, the names of the passes, and the finished
    main function.

    The weights are left in `folder`, in the package that coremltools writes there.
    """
    passes = pipeline(compute, stateful=bool(lowered.states))
    precision = ct.precision.FLOAT16 if compute == "fp16" else ct.precision.FLOAT32
    try:
        with quiet(), passes_alone():
            converted = ct.convert(
                lowered.program,
                source="milinternal",
                convert_to="mlprogram",
                minimum_deployment_target=core_ml_target(lowered.system),
                compute_precision=precision,
                pass_pipeline=passes,
                inputs=_input_types(lowered),
                classifier_config=None if classifier is None else _configuration(classifier),
                skip_model_load=True,
                package_dir=str(folder / "converted.mlpackage"),
            )
            specification = converted.get_spec()
    except Exception as error:  # a pass or the serializer: any exception type
        raise InternalError(
            "coremltools could not finish a program that Edgewise built",
            why=f"{type(error).__name__}: {str(error).strip()[:200]}",
        ) from error
    for key in _VOLATILE_METADATA:
        specification.description.metadata.userDefined.pop(key, None)
    return specification, list(passes.passes), converted._mil_program.functions["main"]


def _input_types(lowered: LoweredProgram) -> list[Any] | None:
    """What coremltools must be told of inputs that have several sizes."""
    if not lowered.flexible:
        return None
    return [
        ct.TensorType(
            name=port.file_name,
            shape=_sizes(lowered.flexible[port.file_name])
            if port.file_name in lowered.flexible
            else port.shape,
            dtype=np.dtype(port.dtype).type,
        )
        for port in lowered.inputs
    ]


def _sizes(shape: FlexibleShape) -> Any:
    if shape.enumerated:
        return ct.EnumeratedShapes(shapes=list(shape.enumerated), default=shape.default)
    return ct.Shape(
        shape=[
            low if low == high else ct.RangeDim(lower_bound=low, upper_bound=high, default=low)
            for low, high in shape.ranges
        ]
    )


def _configuration(classifier: Classifier) -> Any:
    return ct.ClassifierConfig(
        class_labels=list(classifier.labels),
        predicted_feature_name=classifier.label_name,
        predicted_probabilities_output=classifier.values.file_name,
    )


def write_package(specification: Any, weights: Path | None, path: Path) -> None:
    """Write the package at `path`, which must not exist.

    Args:
        specification: message `CoreML.Specification.Model`.
        weights: file of constants that the message refers to; None when it refers to none.
    """
    model = path / "Data" / MODEL_PATH
    model.parent.mkdir(parents=True)
    model.write_bytes(specification.SerializeToString(deterministic=True))
    items = [(MODEL_PATH, "model.mlmodel", "CoreML Model Specification")]
    if weights is not None:
        target = path / "Data" / WEIGHTS_PATH / WEIGHTS_FILE
        target.parent.mkdir()
        shutil.copyfile(weights, target)
        items.append((WEIGHTS_PATH, "weights", "CoreML Model Weights"))
    (path / "Manifest.json").write_bytes(_package_manifest(items))


def read_package(path: Path) -> ProgramView:
    """The program of a package that `write_package` wrote; a file tells no origins.

    Raises ModelError when it cannot be read.
    """
    weights = path / "Data" / WEIGHTS_PATH / WEIGHTS_FILE
    try:
        model = (path / "Data" / MODEL_PATH).read_bytes()
        return read_program(model, weights.read_bytes() if weights.is_file() else b"", {})
    except (OSError, InternalError) as error:
        raise ModelError(
            "the package cannot be read",
            where=str(path),
            why=str(error),
            remedy="Emit it again.",
        ) from error


def _package_manifest(items: list[tuple[str, str, str]]) -> bytes:
    entries = {
        _identifier(item): {
            "author": _AUTHOR,
            "description": description,
            "name": name,
            "path": item,
        }
        for item, name, description in items
    }
    document = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": _identifier(MODEL_PATH),
    }
    return json.dumps(document, indent=4, sort_keys=True).encode() + b"\n"


def _identifier(item: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, item))


class Conversion:
    """A converted program that waits to be written; used as a context, for its weights lie in a
    temporary folder until then."""

    def __init__(
        self, lowered: LoweredProgram, compute: str, ends: Interface | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgewise-")
        self._compute = compute
        self._system = lowered.system
        try:
            self._specification, self._passes, self.main = convert(
                lowered,
                compute,
                Path(self._folder.name),
                None if ends is None else ends.classifier,
            )
            if ends is not None:
                ends.write(self._specification.description)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Conversion:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def sign(self, about: About, facts: Mapping[str, str]) -> None:
        """Put what the user says of the model where Xcode shows it, and `facts` beside it."""
        sign(self._specification.description.metadata, about, facts)

    def describe(self) -> dict[str, Any]:
        """What the manifest says of the package beyond its tensors."""
        return {
            "compute_precision": self._compute,
            "minimum_deployment_target": self._system,
            "passes": self._passes,
            "specification_version": int(self._specification.specificationVersion),
        }

    def write(self, path: Path) -> None:
        write_package(self._specification, self._weights(), path)

    def read_back(self) -> ProgramView:
        """The program, parsed from the bytes that `write` writes."""
        weights = self._weights()
        return read_program(
            self._specification.SerializeToString(deterministic=True),
            b"" if weights is None else weights.read_bytes(),
            origins_of(self.main),
        )

    def _weights(self) -> Path | None:
        data = Path(self._folder.name) / "converted.mlpackage" / "Data"
        weights = data / WEIGHTS_PATH / WEIGHTS_FILE
        if not (data / MODEL_PATH).is_file():
            raise InternalError("coremltools left no package behind", where=str(data))
        return weights if weights.is_file() else None
