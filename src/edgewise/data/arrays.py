"""Arrays in an `.npz` file, named after the model's inputs, streamed row by row."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from edgewise.data.image import ImagePreprocessing
from edgewise.data.selection import spread
from edgewise.data.source import Array, InputSpec, Sample
from edgewise.data.specs import fit_array
from edgewise.errors import DataError
from edgewise.files import sha256
from edgewise.findings import Finding

LABEL_NAMES = ("label", "labels", "y")


class ArraySource:
    """Row `i` of every array is example `i`; the array `label`, `labels` or `y` holds the labels.

    Rows are decompressed as they are asked for, so that memory holds one example (all labels, and
    all of an array in Fortran order, which has no rows on disk). With `image`, an array of 8-bit
    pictures (N, H, W, C) or (N, H, W) goes through the preprocessing of picture files.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[InputSpec],
        *,
        description: str,
        image: ImagePreprocessing | None = None,
        limit: int | None = None,
    ) -> None:
        self._path = path
        self._inputs = tuple(inputs)
        self.description = description
        self.class_names: tuple[str, ...] = ()
        self.findings: list[Finding] = []
        headers = _headers(path)
        self._check_names(headers)
        label_name = _label_name(headers, inputs)
        self.labelled = label_name is not None
        self._image = None if image is None else self._pictures(headers, image)
        count = self._count(headers, label_name)
        labels = None if label_name is None else self._read_labels(label_name)
        by_class = None if labels is None or labels.ndim != 1 else labels.tolist()
        self._chosen = spread(count, limit, by_class)
        self._labels = None if labels is None else labels[self._chosen]

    def _check_names(self, headers: Mapping[str, _Header]) -> None:
        for spec in self._inputs:
            if spec.name not in headers:
                raise DataError(
                    f"there is no array '{spec.name}'",
                    where=str(self._path),
                    why=f"the arrays are {', '.join(headers) or 'none'}",
                    remedy="Name the arrays after the model's inputs.",
                )

    def _pictures(
        self, headers: Mapping[str, _Header], image: ImagePreprocessing
    ) -> ImagePreprocessing | None:
        if len(self._inputs) != 1:
            return None
        header = headers[self._inputs[0].name]
        is_pictures = header.dtype == np.uint8 and (
            len(header.shape) == 3 or (len(header.shape) == 4 and header.shape[3] in (1, 3))
        )
        return image.for_input(self._inputs[0]) if is_pictures else None

    def _count(self, headers: Mapping[str, _Header], label_name: str | None) -> int:
        used = [spec.name for spec in self._inputs] + ([label_name] if label_name else [])
        counts = {name: headers[name].shape[0] if headers[name].shape else 0 for name in used}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"'{name}' {count}" for name, count in counts.items())
            raise DataError("the arrays differ in length", where=str(self._path), why=listed)
        count = next(iter(counts.values()))
        if count == 0:
            raise DataError(
                "there is no example", where=str(self._path), why="the arrays are empty"
            )
        return count

    def _read_labels(self, name: str) -> Array:
        with zipfile.ZipFile(self._path) as archive, _Member(archive, self._path, name) as member:
            labels = np.stack(list(member.rows(range(member.header.shape[0]))))
        return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels

    @cached_property
    def fingerprint(self) -> str:
        settings = None if self._image is None else self._image.as_dict()
        digest = hashlib.sha256(json.dumps([settings, self._chosen], sort_keys=True).encode())
        digest.update(repr(self._inputs).encode())
        digest.update(sha256(self._path).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[Sample]:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(self._path))
            streams = {
                spec.name: stack.enter_context(_Member(archive, self._path, spec.name)).rows(
                    self._chosen
                )
                for spec in self._inputs
            }
            for position, index in enumerate(self._chosen):
                where = f"{self._path}[{index}]"
                feeds = {
                    spec.name: self._fit(next(streams[spec.name]), spec, where)
                    for spec in self._inputs
                }
                label = None if self._labels is None else self._labels[position]
                if isinstance(label, np.generic):
                    label = label.item()
                yield Sample(feeds, label, f"{self._path.name}[{index}]")

    def _fit(self, row: Array, spec: InputSpec, where: str) -> Array:
        if self._image is None:
            return fit_array(row[None], spec, where)
        from PIL import Image

        pixels = row[:, :, 0] if row.ndim == 3 and row.shape[2] == 1 else row
        return fit_array(self._image.apply(Image.fromarray(pixels), spec.dtype), spec, where)


def first_rows(path: Path) -> dict[str, Array]:
    """The first row of every array by name, with an axis of 1 before it.

    Raises DataError: the file is damaged, or an array holds Python objects.
    """
    rows, headers = {}, _headers(path)
    with zipfile.ZipFile(path) as archive:
        for name, header in headers.items():
            if header.shape and header.shape[0]:
                with _Member(archive, path, name) as member:
                    rows[name] = next(member.rows([0]))[None]
    return rows


class _Header:
    """Shape and type of an array in the archive, read without its data."""

    def __init__(self, file: IO[bytes]) -> None:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        self.shape, self.fortran, self.dtype = read(file)


def _headers(path: Path) -> dict[str, _Header]:
    """Name -> header of every array. Raises DataError."""
    try:
        headers = {}
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                with archive.open(entry) as file:
                    headers[entry.removesuffix(".npy")] = _Header(file)
        return headers
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        "cannot read the arrays",
        where=str(path),
        why=str(error),
        remedy="Write the file with numpy.savez or numpy.savez_compressed.",
    )


def _label_name(headers: Mapping[str, _Header], inputs: Sequence[InputSpec]) -> str | None:
    taken = {spec.name for spec in inputs}
    return next((name for name in LABEL_NAMES if name in headers and name not in taken), None)


class _Member:
    """One array of the archive, read forwards."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, name: str) -> None:
        self._path, self._name = path, name
        entry = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
        self._file = archive.open(entry)
        self.header = _Header(self._file)
        if self.header.dtype.hasobject:
            self._file.close()
            raise DataError(
                f"array '{name}' holds Python objects", where=str(path), remedy="Store numbers."
            )

    def __enter__(self) -> _Member:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def rows(self, indices: Sequence[int]) -> Iterator[Array]:
        """The rows at ascending indices. Raises DataError on a damaged archive."""
        shape: tuple[int, ...] = self.header.shape[1:]
        size = int(np.prod(shape, dtype=np.int64)) * self.header.dtype.itemsize
        try:
            if self.header.fortran:
                yield from self._whole()[list(indices)]
                return
            position = 0
            for index in indices:
                self._skip((index - position) * size)
                yield np.frombuffer(self._read(size), self.header.dtype).reshape(shape)
                position = index + 1
        except (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise _unreadable(self._path, error) from error

    def _whole(self) -> Array:
        with np.load(self._path, allow_pickle=False) as arrays:
            whole: Array = arrays[self._name]
        return whole

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise EOFError(f"array '{self._name}' is truncated")
        return data

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self._read(min(size, 1 << 20)))
