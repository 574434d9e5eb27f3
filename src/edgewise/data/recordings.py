"""Recordings on disk: a folder of `.wav` files with one sub-folder per class, or without classes.

Read by the standard library: PCM of 8, 16, 24 or 32 bits. Several channels are averaged, which a
finding tells. Another sampling rate than the model's is refused: resampling is a choice of filters
that belongs to whoever made the model.
"""

from __future__ import annotations

import hashlib
import json
import wave
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgewise.data.audio import AudioPreprocessing
from edgewise.data.folders import Listing
from edgewise.data.selection import spread
from edgewise.data.source import InputSpec, Sample
from edgewise.data.specs import fit_array
from edgewise.errors import DataError
from edgewise.files import sha256
from edgewise.findings import Finding

SUFFIXES = frozenset({".wav"})
_MIXED = "data/mixed-channels"


class RecordingSource:
    """Reads one recording at a time and keeps none. Implements `DataSource`."""

    def __init__(
        self,
        listing: Listing,
        spec: InputSpec,
        audio: AudioPreprocessing,
        *,
        description: str,
        limit: int | None = None,
    ) -> None:
        chosen = spread(len(listing.files), limit, listing.labels)
        self._files = [listing.files[i] for i in chosen]
        self._labels = None if listing.labels is None else [listing.labels[i] for i in chosen]
        self._spec = spec
        self._audio = audio.for_input(spec)
        self._prepare = self._audio.open()
        self._mixed: dict[str, int] = {}
        self.description = description
        self.labelled = listing.labels is not None
        self.class_names = listing.class_names
        self.findings: list[Finding] = []

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(self._audio.as_dict(), sort_keys=True).encode())
        digest.update(repr(self._spec).encode())
        for index, (name, path) in enumerate(self._files):
            label = None if self._labels is None else self._labels[index]
            digest.update(f"{name}\0{label}\0{sha256(path)}\n".encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Sample]:
        for index, (name, path) in enumerate(self._files):
            samples, rate = read_wave(path)
            if rate != self._audio.sampling_rate:
                raise DataError(
                    f"the sampling rate is {rate}",
                    where=str(path),
                    why=f"the model takes {self._audio.sampling_rate} samples per second",
                    remedy="Resample the recordings first, as with ffmpeg -ar.",
                )
            if samples.shape[1] > 1:
                self._remark(name, samples.shape[1])
            array = self._prepare(samples.mean(axis=1, dtype=np.float32))
            label = None if self._labels is None else self._labels[index]
            yield Sample({self._spec.name: fit_array(array, self._spec, str(path))}, label, name)

    def _remark(self, name: str, channels: int) -> None:
        self._mixed[name] = channels
        finding = Finding(
            _MIXED,
            "info",
            f"{len(self._mixed)} of {len(self)} recordings of {self.description} have several "
            "channels, which were averaged",
        )
        self.findings[:] = [f for f in self.findings if f.rule != _MIXED] + [finding]


def read_wave(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """Samples (time, channels) within -1..1, and their number per second.

    Raises:
        DataError: the file is no PCM recording, is damaged, or holds no sample.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise DataError(
            "cannot read this recording",
            where=str(path),
            why=getattr(error, "strerror", None) or str(error) or "it is truncated",
            remedy="Store it as PCM, 8 to 32 bits.",
        ) from error
    usable = len(data) - len(data) % (width * channels)
    if not usable:
        raise DataError("the recording is empty", where=str(path), remedy="Remove the file.")
    return _samples(data[:usable], width).reshape(-1, channels), rate


def _samples(data: bytes, width: int) -> npt.NDArray[np.float32]:
    """Little-endian integers of `width` bytes as fractions; those of one byte are unsigned."""
    raw = np.frombuffer(data, np.uint8)
    if width == 1:
        return (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
    if width == 3:  # a low byte of zero makes 32 bits of it
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = raw.reshape(-1, 3)
        raw, width = wide.reshape(-1), 4
    return raw.view(f"<i{width}").astype(np.float32) / np.float32(2 ** (8 * width - 1))
