"""One pass over the data: run the float model and reduce every activation at once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np
import onnx
import onnx_ir as ir

from edgewise.calibration.masks import masked_tensors
from edgewise.calibration.observer import Observer
from edgewise.calibration.statistics import Statistics, proto_hash
from edgewise.calibration.tensor_statistics import Running
from edgewise.data.source import Array, DataSource, Sample
from edgewise.errors import DataError, ModelError, UsageError
from edgewise.graph import OrtSession
from edgewise.progress import SILENT, Progress


def collect_statistics(
    model: ir.Model,
    source: DataSource,
    *,
    limit: int | None = None,
    threads: int = 1,
    progress: Progress = SILENT,
    tensors: Collection[str] | None = None,
) -> Statistics:
    """Statistics of the float activations of `model`, fit for every scheme.

    Memory holds the activations of one sample and a fixed number of bytes per tensor, however many
    samples there are.

    Args:
        model: hub model, never changed.
        source: walked once; each sample has a leading batch axis of 1.
        limit: use the first `limit` samples only.
        threads: for inference and for the reductions.
        progress: advanced once per sample.
        tensors: names to observe; None observes all of `observed_tensors(model)`.

    Raises:
        UsageError: `limit` is below 1, or `tensors` names something that is no float activation.
        DataError: no samples, NaN or infinity in a sample, a missing input, what `source` raises.
        ModelError: ONNX Runtime cannot run the model, or an activation is NaN or infinite.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the calibration limit must be at least 1, not {limit}")
    names = _selected(model, tensors)
    inputs = [v.name or "" for v in model.graph.inputs if v.name not in model.graph.initializers]
    observer = Observer.of(model, names)
    fetched = observer.fetched
    proto = ir.to_proto(model)
    session = OrtSession(_with_outputs(proto, fetched), threads=threads, optimize="all")
    of_model = proto_hash(proto)
    computed = [name for name in fetched if name not in set(inputs)]
    total = len(source) if limit is None else min(limit, len(source))

    totals = {name: Running() for name in names}
    samples = 0
    workers = max(threads, 1)
    with ThreadPoolExecutor(workers) as pool:
        for sample in progress.track(islice(source, limit), "calibrating", total):
            _check_feeds(sample, inputs)
            fed = {name: sample.feeds[name] for name in fetched if name in sample.feeds}
            values = fed | (session.run(sample.feeds, computed) if computed else {})
            counted = observer.counted(values)
            shares = [dict(list(counted.items())[first::workers]) for first in range(workers)]
            add = partial(observer.add, totals=totals)
            try:
                # one worker needs no other thread: handing tensors over would cost as much again
                for _ in map(add, shares) if workers == 1 else pool.map(add, shares):
                    pass
            except ValueError as error:
                raise _not_finite(sample, counted) from error
            samples += 1
    if not samples:
        raise DataError("there are no calibration samples", where=source.description)
    observed = {name: total.statistics() for name, total in totals.items() if total}
    return Statistics(observed, samples, of_model, (_data_hash(source, samples),))


def observed_tensors(model: ir.Model) -> tuple[str, ...]:
    """Every float32 graph input and node output of the main graph, in graph order, but for what a
    mask of minus infinity runs through."""
    masked = masked_tensors(model)
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    outputs = [out for node in model.graph for out in node.outputs]
    return tuple(
        value.name
        for value in (*inputs, *outputs)
        if value.name and value.dtype is ir.DataType.FLOAT and value.name not in masked
    )


def _selected(model: ir.Model, tensors: Collection[str] | None) -> tuple[str, ...]:
    known = observed_tensors(model)
    if tensors is None:
        return known
    unknown = sorted(set(tensors) - set(known))
    if unknown:
        raise UsageError(f"the model has no float activation '{unknown[0]}'")
    return tuple(name for name in known if name in set(tensors))


def _with_outputs(proto: onnx.ModelProto, names: Collection[str]) -> bytes:
    """The model with further outputs: those of the named that are outputs of nodes."""
    present = {value.name for value in proto.graph.output}
    count = len(present)
    computed = (name for node in proto.graph.node for name in node.output)
    for name in dict.fromkeys(computed):
        if name in names and name not in present:
            proto.graph.output.add().name = name  # a name is enough where a type is inferred
    data = bytes(proto.SerializeToString())
    del proto.graph.output[count:]
    return data


def _check_feeds(sample: Sample, inputs: Collection[str]) -> None:
    for name in inputs:
        if name not in sample.feeds:
            raise DataError(f"the sample has no array for input '{name}'", where=sample.name)


def _not_finite(sample: Sample, values: Mapping[str, Array]) -> DataError | ModelError:
    """The error for the first tensor, in graph order, that is not finite."""
    name = next(name for name, array in values.items() if not np.isfinite(array).all())
    if name in sample.feeds:
        return DataError(
            f"input '{name}' holds NaN or infinity",
            where=sample.name,
            remedy="Remove or repair this sample.",
        )
    return ModelError(
        f"the model computes NaN or infinity in tensor '{name}'",
        where=sample.name,
        why="such a tensor has no quantization range",
        remedy="Check the preprocessing and the model on this sample.",
    )


def _data_hash(source: DataSource, samples: int) -> str:
    """The source's fingerprint; a prefix of the source is other data than the whole."""
    if samples == len(source):
        return source.fingerprint
    return hashlib.sha256(f"{source.fingerprint}:{samples}".encode()).hexdigest()
