"""Statistics on disk.

A zip that `numpy.load` opens, written with constant time stamps, so that equal statistics give
equal bytes. Members, each one `.npy`; rows are tensors, in the order of `names`:

    header           uint8 (n,)         UTF-8 JSON: format, samples, model_hash, data_hashes, names
    minimum          float32 (T,)       exact minimum
    maximum          float32 (T,)       exact maximum
    count            int64 (T,)         number of values seen
    exponent         int16 (T,)         histogram range exponent e: bins split [-2**e, 2**e)
    histogram        int64 (T, BINS)    counts of the sampled values
    arrays           int64 (T,)         number of arrays seen, one per sample
    sum_of_minima    text (T,)          sum of the arrays' minima in units of 2**-149, decimal
    sum_of_maxima    text (T,)          sum of the arrays' maxima, likewise
    channels         int32 (T,)         number of channels; 0 where there are none
    channel_minimum  float32 (sum(channels),)   exact minima of the channels, tensor after tensor
    channel_maximum  float32 (sum(channels),)   exact maxima of the channels

`format` is `edgewise-statistics-2`; another number is refused, since nothing of a pass over data
can be made up afterwards.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.calibration.histogram import BINS, Histogram
from edgewise.calibration.tensor_statistics import Channels, TensorStatistics
from edgewise.errors import DataError, UsageError
from edgewise.files import staged

_FAMILY = "edgewise-statistics-"
FORMAT = f"{_FAMILY}2"
_ROWS = ("minimum", "maximum", "count", "exponent", "histogram", "arrays", "sum_of_minima",
         "sum_of_maxima", "channels")  # fmt: skip
_FLAT = ("channel_minimum", "channel_maximum")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

Columns = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of all tensors together; see `Statistics`."""

    samples: int
    model_hash: str
    data_hashes: tuple[str, ...]


class _OtherVersion(Exception):
    """The file's format is of this family, with another number."""


def save(path: str | Path, header: Header, tensors: Mapping[str, TensorStatistics]) -> None:
    """Write the file described above, in one move."""
    names = sorted(tensors)
    plain = {
        "format": FORMAT,
        "samples": header.samples,
        "model_hash": header.model_hash,
        "data_hashes": list(header.data_hashes),
        "names": names,
    }
    members: dict[str, npt.NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(plain).encode(), np.uint8)
    }
    members |= _columns([tensors[name] for name in names])
    with staged(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in members.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_TIME)
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=6)


def load(path: str | Path) -> tuple[Header, dict[str, TensorStatistics]]:
    """Read what `save` wrote.

    Raises:
        UsageError: the path does not exist.
        DataError: the file is damaged, is not a statistics file, or is of another version.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError("no such file", where=str(path), remedy="Check the statistics' path.")
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(_member(archive, "header").tobytes())
            _check_format(header["format"])
            columns = {name: _member(archive, name) for name in (*_ROWS, *_FLAT)}
        return _parsed(header), _tensors(header["names"], columns)
    except _OtherVersion as error:
        raise _unreadable(path, f"its format is {error}, and this version reads {FORMAT}") from None
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
        why = "the file is damaged, or is not a statistics file"
        raise _unreadable(path, why) from error


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(
        "cannot read the calibration statistics",
        where=str(path),
        why=why,
        remedy="Calibrate again.",
    )


def _check_format(found: str) -> None:
    if found != FORMAT:
        raise _OtherVersion(found) if found.startswith(_FAMILY) else ValueError("unknown format")


def _member(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """One array, read whole: only then is its checksum compared, and `numpy.load` stops before."""
    content = io.BytesIO(archive.read(f"{name}.npy"))
    return np.asarray(np.lib.format.read_array(content, allow_pickle=False))


def _columns(rows: list[TensorStatistics]) -> dict[str, npt.NDArray[Any]]:
    lows = [row.channel_minimum for row in rows if row.channel_minimum is not None]
    highs = [row.channel_maximum for row in rows if row.channel_maximum is not None]
    empty = np.zeros(0, np.float32)
    return {
        "minimum": np.array([row.minimum for row in rows], np.float32),
        "maximum": np.array([row.maximum for row in rows], np.float32),
        "count": np.array([row.count for row in rows], np.int64),
        "exponent": np.array([row.histogram.exponent for row in rows], np.int16),
        "histogram": np.array([row.histogram.counts for row in rows], np.int64).reshape(-1, BINS),
        "arrays": np.array([row.arrays for row in rows], np.int64),
        "sum_of_minima": np.array([str(row.sum_of_minima) for row in rows], np.str_),
        "sum_of_maxima": np.array([str(row.sum_of_maxima) for row in rows], np.str_),
        "channels": np.array([_size(row.channel_minimum) for row in rows], np.int32),
        "channel_minimum": np.concatenate([empty, *lows]),
        "channel_maximum": np.concatenate([empty, *highs]),
    }


def _size(channels: Channels | None) -> int:
    return 0 if channels is None else channels.size


def _parsed(header: dict[str, Any]) -> Header:
    hashes = tuple(str(value) for value in header["data_hashes"])
    return Header(int(header["samples"]), str(header["model_hash"]), hashes)


def _tensors(names: list[str], columns: Columns) -> dict[str, TensorStatistics]:
    ends = np.cumsum(columns["channels"])
    count = int(ends[-1]) if ends.size else 0
    if columns["histogram"].shape != (len(names), BINS) or any(
        columns[name].shape != (count,) for name in _FLAT
    ):
        raise ValueError("sizes do not fit together")
    rows = zip(names, ends, *(columns[name] for name in _ROWS), strict=True)
    found = {}
    for name, end, low, high, values, exponent, counts, arrays, minima, maxima, channels in rows:
        own = [columns[side][end - channels : end] if channels else None for side in _FLAT]
        found[str(name)] = TensorStatistics(
            float(low),
            float(high),
            int(values),
            Histogram(int(exponent), counts),
            int(arrays),
            int(minima),
            int(maxima),
            own[0],
            own[1],
        )
    return found
