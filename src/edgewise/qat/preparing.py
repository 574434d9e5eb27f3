"""From a model to its network for training, and back to a QDQ file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise import stages
from edgewise.calibration import Recipe
from edgewise.calibration.quantize_for import quantize_for
from edgewise.data import DataSource, Sample
from edgewise.data.preprocessing import DataSettings
from edgewise.errors import DataError, ModelError, UnsupportedPrecision, UsageError
from edgewise.exporters import SourceOptions
from edgewise.exporters.pytorch.forward import parameters_of
from edgewise.exporters.pytorch.running import Module, import_torch
from edgewise.findings import Finding
from edgewise.graph import OrtSession, forget_known_ranges, known_ranges, save
from edgewise.hub_data import open_for
from edgewise.targets import get

if TYPE_CHECKING:
    from edgewise.qat.network import QuantizedNetwork

#: a tensor or array with examples along its first axis, several in the order of the inputs, or by
#: name
Examples: TypeAlias = Any
Arrays = dict[str, npt.NDArray[Any]]
_BITS = (2, 8)
#: root mean square of the difference of torch and ONNX Runtime, over that of the output: more than
#: integers that fall to the other side of a half
_SAME = 0.05
_COMPARED = 4


def prepare(
    source: Module | str | Path | ir.Model,
    example: Examples | str | Path | DataSource,
    *,
    target: str,
    precision: str = "w8a8",
    weight_bits: int = 8,
    method: str = "minmax",
    options: Mapping[str, Any] | None = None,
    source_options: SourceOptions | None = None,
) -> QuantizedNetwork:
    """A network to train, which computes what the target's integers will.

    Args:
        source: a trained `torch.nn.Module` (never changed), or whatever else `edgewise.export`
            reads.
        example: data that the first scales are measured on, some hundred examples: tensors or
            arrays with examples along their first axis, one, several in order, or by name of input;
            or what `--calibration` takes.
        target: `android`, `apple` or `arm`.
        precision: with integer activations.
        weight_bits: at most 8; with fewer, weights use the middle ones of the integers alone. They
            are stored with 8 bits.
        method: how the first ranges of activations follow from the data.
        options: what `[targets.<name>]` says beside the precision.

    Returns:
        A `torch.nn.Module` with the inputs and outputs of the hub model.

    Raises:
        UsageError: torch is missing, or an argument is wrong.
        UnsupportedPrecision: the target does not have it, or its activations are float.
        ModelError: the model cannot be exported or quantized, or holds operators that cannot be
            trained.
        DataError: the data do not fit the model.
    """
    import_torch()
    from edgewise.qat.network import QuantizedNetwork
    from edgewise.qat.template import read_template

    if not _BITS[0] <= weight_bits <= _BITS[1]:
        raise UsageError(f"weights have {_BITS[0]} to {_BITS[1]} bits, not {weight_bits}")
    scheme = get(target).scheme(precision, options)
    if scheme.activation is None or scheme.weight is None:
        raise UnsupportedPrecision(
            f"{target} {precision} cannot be trained for",
            why="its activations are float",
            remedy="Train for a precision such as w8a8.",
        )
    hub, data = _hub_and_data(source, example, source_options or SourceOptions())
    if known_ranges(hub):
        forget_known_ranges(hub)  # they are what training is to replace
    statistics = stages.calibrate(hub, data)
    qdq = quantize_for(hub, statistics, scheme, Recipe(method=method)).model
    template = read_template(qdq, hub, scheme)
    network = QuantizedNetwork(template, weight_bits)
    _check_same(network, data)
    return network


def export(network: QuantizedNetwork, path: str | Path | None = None) -> ir.Model:
    """The trained network as a QDQ model, written where a path is given.

    `edgewise build` reads it, and gives the artifacts exactly these scales and integers.

    Raises UsageError: the file cannot be written.
    """
    from edgewise.qat.writing import trained_model

    model = trained_model(network)
    if path is not None:
        save(model, Path(path))
    return model


def _check_same(network: QuantizedNetwork, data: DataSource) -> None:
    """Raises ModelError where torch computes another function than ONNX Runtime."""
    torch = import_torch()
    session = OrtSession(export(network))
    for _, sample in zip(range(_COMPARED), data, strict=False):
        feeds = {name: torch.from_numpy(np.array(array)) for name, array in sample.feeds.items()}
        with torch.no_grad():
            results = network(**feeds)
        results = results if isinstance(results, tuple) else (results,)
        for found, (name, wanted) in zip(results, session.run(sample.feeds).items(), strict=True):
            error = np.square(found.numpy() - wanted).mean() ** 0.5
            if not error <= _SAME * np.square(wanted).mean() ** 0.5 + np.finfo(np.float32).eps:
                raise ModelError(
                    f"torch computes another '{name}' than ONNX Runtime",
                    where="the network for training",
                    why=f"it is off by {error:.3g} (root mean square)",
                    remedy="Train the part of the model that agrees.",
                )


def _hub_and_data(source: Any, example: Any, options: SourceOptions) -> tuple[ir.Model, DataSource]:
    if isinstance(example, str | Path):
        hub = stages.export(source, example=example, options=options).model
        return hub, open_for(hub, str(example), DataSettings())
    if hasattr(example, "fingerprint"):
        return stages.export(source, options=options).model, example
    if isinstance(source, import_torch().nn.Module):
        arrays = _arrays(example, parameters_of(source).names)
        shapes = options.input_shapes or {
            name: ("batch", *array.shape[1:]) for name, array in arrays.items()
        }
        first = {name: array[:1] for name, array in arrays.items()}
        options = replace(options, input_shapes=shapes, example=first)
    hub = stages.export(source, options=options).model
    arrays = _arrays(example, [value.name or "" for value in hub.graph.inputs])
    return hub, TensorSource(arrays)


def _arrays(example: Any, names: Sequence[str]) -> Arrays:
    """Arrays by name of input. Raises UsageError: there is no telling which is which."""
    if not isinstance(example, Mapping):
        several = example if isinstance(example, tuple | list) else (example,)
        if len(several) > len(names):
            raise UsageError(
                "it is not known which input an example is for",
                remedy="Give them by name: {'image': images}.",
            )
        example = dict(zip(names, several, strict=False))
    return {
        str(name): np.asarray(a.detach().cpu() if hasattr(a, "detach") else a)
        for name, a in example.items()
    }


@dataclass(slots=True)
class TensorSource:
    """Examples in memory: row i of every array is example i."""

    arrays: Arrays
    description: str = "examples in memory"
    labelled: bool = False
    class_names: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len({len(array) for array in self.arrays.values()}) != 1 or not len(self):
            raise DataError("examples must be arrays of the same number of rows, at least one")

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __iter__(self) -> Iterator[Sample]:
        for row in range(len(self)):
            yield Sample({name: array[row : row + 1] for name, array in self.arrays.items()})
