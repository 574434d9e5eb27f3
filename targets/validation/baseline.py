"""The fp32 model's side of the accuracy comparison, computed once for all targets."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import numpy as np
import onnx_ir as ir

from edgewise.data.source import Array, DataSource, Sample
from edgewise.errors import DataError, EdgewiseError, UsageError
from edgewise.graph import OrtSession
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.agreement import Outputs
from edgewise.targets.validation.metrics import Metric, get_metric

#: outputs beyond this many bytes go to a temporary file
_IN_MEMORY_BYTES = 64 * 1024 * 1024


class OutputSpool:
    """Outputs kept by index: in memory while they are small, then in an unnamed temporary file.

    Several threads may read it: each device is compared in a thread of its own.
    """

    def __init__(self, in_memory_bytes: int = _IN_MEMORY_BYTES) -> None:
        self._file = cast(
            IO[bytes],
            tempfile.SpooledTemporaryFile(max_size=in_memory_bytes),  # noqa: SIM115  # see close
        )
        self._entries: list[list[tuple[str, np.dtype[Any], tuple[int, ...], int]]] = []
        self._end = 0
        self._lock = threading.Lock()  # the file has one position for all

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, outputs: Outputs) -> None:
        entry = []
        with self._lock:
            self._file.seek(self._end)
            for name, array in outputs.items():
                entry.append((name, array.dtype, array.shape, self._end))
                self._end += self._file.write(np.ascontiguousarray(array).tobytes())
            self._entries.append(entry)

    def __getitem__(self, index: int) -> dict[str, Array]:
        outputs = {}
        with self._lock:
            for name, dtype, shape, start in self._entries[index]:
                self._file.seek(start)
                size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                outputs[name] = np.frombuffer(self._file.read(size), dtype).reshape(shape)
        return outputs

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the fp32 hub model gives on `source`: the metric's records and the outputs.

    Memory is bounded: records are small, outputs spill to disk. Close it, or use it in `with`.
    """

    source: DataSource
    metric: Metric | None
    records: Sequence[Any]
    outputs: OutputSpool

    @classmethod
    def collect(
        cls,
        hub: ir.Model | str | Path,
        source: DataSource,
        metric: Metric | str | None = "top1",
        *,
        threads: int = 1,
        progress: Progress = SILENT,
    ) -> Baseline:
        """Run the fp32 model once over the data.

        Args:
            metric: a name, a metric, or None; ignored where the data has no labels.

        Raises:
            DataError: the data cannot be read, or a label does not fit.
            UsageError: the metric is unknown, or does not fit the outputs.
            ModelError: ONNX Runtime cannot run the model.
        """
        metric = usable_metric(metric, source)
        session = OrtSession(hub, threads=threads, optimize="all")
        records, spool = [], OutputSpool()
        try:
            for sample in progress.track(source, "fp32 reference", len(source)):
                outputs = session.run(sample.feeds)
                spool.append(outputs)
                if metric is not None:
                    records.append(observe(metric, outputs, sample))
        except BaseException:
            spool.close()
            raise
        return cls(source, metric, records, spool)

    def check_fits(self, source: DataSource, metric: Metric | str | None) -> None:
        """Raises UsageError when it was collected on other data or with another metric."""
        wanted = usable_metric(metric, source)
        mine, asked = (None if m is None else m.name for m in (self.metric, wanted))
        if self.source is not source or mine != asked:
            raise UsageError(
                "the baseline belongs to other data or another metric",
                why=f"it has {self.source.description} with {mine}",
                remedy="Collect it anew with Baseline.collect.",
            )

    def close(self) -> None:
        self.outputs.close()

    def __enter__(self) -> Baseline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def usable_metric(metric: Metric | str | None, source: DataSource) -> Metric | None:
    """The metric, or None where the data has no labels to compute one with."""
    if metric is None or not source.labelled:
        return None
    return get_metric(metric) if isinstance(metric, str) else metric


def observe(metric: Metric, outputs: Outputs, sample: Sample) -> Any:
    """The metric's record of a sample; its errors name the sample."""
    if sample.label is None:
        raise DataError("the example has no label", where=sample.name)
    try:
        return metric.observe(outputs, sample.label)
    except EdgewiseError as error:
        if error.where:
            raise
        raise type(error)(
            error.what, where=sample.name, why=error.why, remedy=error.remedy
        ) from error
