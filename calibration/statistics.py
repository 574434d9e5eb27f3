"""What calibration keeps of each tensor: minimum, maximum and a histogram of fixed size.

Statistics of two shards add up to the statistics of the whole, exactly and in any order, so that
calibration can stream, shard and resume. The histogram makes this possible: its `BINS` bins split
[-2**e, 2**e) evenly, and `e` is the smallest exponent that holds every value seen. When `e` grows
by one, bins merge in pairs around zero; dyadic edges nest, so no count ever has to be split.

File format (`Statistics.save`): a zip that `numpy.load` opens, written with
constant time stamps, so that equal statistics give equal bytes. Members, each one `.npy`:

    header       uint8 (n,)          UTF-8 JSON: format, samples, model_hash, data_hashes, names
    minimum      float32 (T,)        exact minimum, one row per tensor in the order of `names`
    maximum      float32 (T,)        exact maximum
    count        int64 (T,)          number of values seen
    exponent     int16 (T,)          histogram range exponent e
    histogram    int64 (T, BINS)     counts of the sampled values
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.errors import DataError, ModelError, UsageError
from edgewise.files import staged

BINS = 4096
_HALF = BINS // 2
#: arrays up to this size enter the histogram whole
SAMPLED_ABOVE = 16_384
#: larger arrays enter with every 11th value: a prime that divides no usual image width, so that no
#: column of the picture is preferred
SAMPLE_STRIDE = 11
#: values below 2**-100 share the two bins beside zero
_MIN_EXPONENT = -100

_FORMAT = "edgewise-statistics-1"
_COLUMNS = ("minimum", "maximum", "count", "exponent", "histogram")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts int64 (BINS,) over [-2**exponent, 2**exponent); bin i starts at (i - BINS/2) width."""

    exponent: int
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, values: npt.NDArray[Any], largest: float) -> Histogram:
        """The histogram of finite `values`, none of which exceeds `largest` in magnitude."""
        # frexp: largest = m * 2**e with m < 1, so every value lies strictly inside the range
        exponent = max(math.frexp(largest)[1], _MIN_EXPONENT) if largest else _MIN_EXPONENT
        scaled = np.multiply(values, math.ldexp(_HALF, -exponent), dtype=np.float64)
        bins = np.floor(scaled, out=scaled).astype(np.intp)
        bins += _HALF
        return cls(exponent, np.bincount(bins, minlength=BINS).astype(np.int64))

    @property
    def width(self) -> float:
        """Width of one bin: a power of two."""
        return math.ldexp(1.0, self.exponent) / _HALF

    def edges(self) -> npt.NDArray[np.float64]:
        """The BINS + 1 bin edges, exact."""
        return (np.arange(BINS + 1, dtype=np.float64) - _HALF) * self.width

    def widened(self, exponent: int) -> Histogram:
        """The same counts over the range of a larger exponent."""
        if exponent == self.exponent:
            return self
        shift = min(exponent - self.exponent, 62)  # a larger shift empties all but the middle bins
        moved = ((np.arange(BINS) - _HALF) >> shift) + _HALF
        counts = np.zeros(BINS, np.int64)
        np.add.at(counts, moved, self.counts)
        return Histogram(exponent, counts)

    def __add__(self, other: Histogram) -> Histogram:
        exponent = max(self.exponent, other.exponent)
        counts = self.widened(exponent).counts + other.widened(exponent).counts
        return Histogram(exponent, counts)


@dataclass(frozen=True, slots=True, eq=False)
class TensorStatistics:
    """One tensor over all samples. `minimum` and `maximum` are exact float32 values; `count` counts
    every value, the histogram those that were sampled (see `SAMPLE_STRIDE`)."""

    minimum: float
    maximum: float
    count: int
    histogram: Histogram

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> TensorStatistics:
        """Statistics of one non-empty float array of any shape.

        Raises:
            ValueError: the array holds NaN or infinity.
        """
        flat = array.reshape(-1)
        minimum, maximum = float(flat.min()), float(flat.max())  # NaN survives both
        if not (math.isfinite(minimum) and math.isfinite(maximum)):
            raise ValueError("NaN or infinity")
        sampled = flat if flat.size <= SAMPLED_ABOVE else flat[::SAMPLE_STRIDE]
        histogram = Histogram.of(sampled, max(abs(minimum), abs(maximum)))
        return cls(minimum, maximum, flat.size, histogram)

    def __add__(self, other: TensorStatistics) -> TensorStatistics:
        return TensorStatistics(
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.count + other.count,
            self.histogram + other.histogram,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Statistics of a model's float activations over calibration data.

    `data_hashes` holds one entry per shard, sorted, so that the order of addition leaves no trace.
    """

    tensors: Mapping[str, TensorStatistics]
    samples: int
    model_hash: str
    data_hashes: tuple[str, ...]

    @property
    def data_hash(self) -> str:
        """One hash for all data that was seen."""
        if len(self.data_hashes) == 1:
            return self.data_hashes[0]
        return hashlib.sha256("\n".join(self.data_hashes).encode()).hexdigest()

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of both shards together.

        Raises:
            ModelError: the shards observed different models or different tensors.
        """
        if self.model_hash != other.model_hash or self.tensors.keys() != other.tensors.keys():
            raise ModelError(
                "statistics of different models cannot be added",
                remedy="Collect every shard with the same model and the same tensors.",
            )
        return Statistics(
            {name: mine + other.tensors[name] for name, mine in self.tensors.items()},
            self.samples + other.samples,
            self.model_hash,
            tuple(sorted(self.data_hashes + other.data_hashes)),
        )

    def check_model(self, model: ir.Model) -> None:
        """Raises ModelError unless these statistics were collected with `model`."""
        if self.model_hash != model_hash(model):
            raise ModelError(
                "the statistics belong to another model",
                remedy="Calibrate again with this model.",
            )

    def save(self, path: str | Path) -> None:
        """Write the file described at the top of this module, in one move."""
        names = sorted(self.tensors)
        rows = [self.tensors[name] for name in names]
        header = {
            "format": _FORMAT,
            "samples": self.samples,
            "model_hash": self.model_hash,
            "data_hashes": list(self.data_hashes),
            "names": names,
        }
        members: dict[str, npt.NDArray[Any]] = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "minimum": np.array([row.minimum for row in rows], np.float32),
            "maximum": np.array([row.maximum for row in rows], np.float32),
            "count": np.array([row.count for row in rows], np.int64),
            "exponent": np.array([row.histogram.exponent for row in rows], np.int16),
            "histogram": np.array([row.histogram.counts for row in rows], np.int64).reshape(
                len(rows), BINS
            ),
        }
        with staged(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, array in members.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, allow_pickle=False)
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_TIME)
                archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=6)

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Read what `save` wrote.

        Raises:
            UsageError: the path does not exist.
            DataError: the file is damaged or is not a statistics file.
        """
        path = Path(path)
        if not path.exists():
            raise UsageError("no such file", where=str(path), remedy="Check the statistics' path.")
        try:
            with zipfile.ZipFile(path) as archive:
                header = json.loads(_member(archive, "header").tobytes())
                columns = {name: _member(archive, name) for name in _COLUMNS}
            return _from_columns(header, columns)
        except (
            OSError,
            EOFError,
            KeyError,
            TypeError,
            AttributeError,
            ValueError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise DataError(
                "cannot read the calibration statistics",
                where=str(path),
                why="the file is damaged, or is not a statistics file",
                remedy="Calibrate again.",
            ) from error


def _member(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """One array, read whole: only then is its checksum compared, and `numpy.load` stops before."""
    content = io.BytesIO(archive.read(f"{name}.npy"))
    return np.asarray(np.lib.format.read_array(content, allow_pickle=False))


def _from_columns(header: dict[str, Any], columns: dict[str, npt.NDArray[Any]]) -> Statistics:
    if header["format"] != _FORMAT or columns["histogram"].shape != (len(header["names"]), BINS):
        raise ValueError("unknown format")
    rows = zip(header["names"], *(columns[name] for name in _COLUMNS), strict=True)
    tensors = {
        str(name): TensorStatistics(
            float(low), float(high), int(count), Histogram(int(exponent), counts)
        )
        for name, low, high, count, exponent, counts in rows
    }
    hashes = tuple(str(value) for value in header["data_hashes"])
    return Statistics(tensors, int(header["samples"]), str(header["model_hash"]), hashes)


def model_hash(model: ir.Model) -> str:
    """SHA-256 over what the model computes: nodes, attributes, weights, inputs and outputs.

    Inferred shapes, doc strings and producer fields do not count.
    """
    proto = ir.to_proto(model)
    for part in ("doc_string", "producer_name", "producer_version", "metadata_props"):
        proto.ClearField(part)
    for part in ("doc_string", "value_info", "metadata_props"):
        proto.graph.ClearField(part)
    for node in proto.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
