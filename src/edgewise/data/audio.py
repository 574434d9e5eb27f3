"""A recording to the array that a model takes.

Waveforms are cut or filled with `padding_value` at their end, and normalized to mean 0 and variance
1 where the model wants that: `(x - mean) / sqrt(variance + 1e-7)` over the recording itself, not
what fills it up (as transformers' `Wav2Vec2FeatureExtractor` does). Spectrograms are computed by
the feature extractor of transformers that the model comes with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.data.source import Array, InputSpec
from edgewise.errors import DataError, UsageError

Wave = npt.NDArray[np.float32]

_EPSILON = 1e-7


@dataclass(frozen=True, slots=True)
class AudioPreprocessing:
    """How a recording becomes an input.

    Attributes:
        sampling_rate: samples per second that the model was trained with.
        length: samples of a waveform; None where the features have their own size.
        normalize: to mean 0 and variance 1.
        padding_value: what fills up waveforms that are too short.
        extractor: settings of a feature extractor of transformers, with its class under
            `feature_extractor_type`; None: the model takes the waveform itself.
    """

    sampling_rate: int
    length: int | None = None
    normalize: bool = False
    padding_value: float = 0.0
    extractor: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.sampling_rate < 1:
            raise UsageError(
                f"'sampling_rate' must be at least 1, found {self.sampling_rate}",
                where="audio preprocessing",
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifests and fingerprints."""
        return asdict(self)

    def for_input(self, spec: InputSpec) -> AudioPreprocessing:
        """The same preprocessing with the length of one model input.

        Raises:
            DataError: the input takes no waveform.
        """
        if self.extractor is not None:
            return self
        if len(spec.shape) != 2:
            raise DataError(
                f"input '{spec.name}' does not take a waveform",
                why=f"its rank is {len(spec.shape)}, and waveforms are (1, samples)",
                remedy="Give the data as .npz or as package.module:function.",
            )
        samples = spec.shape[1]
        return replace(self, length=samples) if isinstance(samples, int) else self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input that is made of one second: (1, samples), or that of the features.

        Raises UsageError: transformers is needed and missing.
        """
        if self.extractor is None:
            return (1, self.length or self.sampling_rate)
        silence = np.zeros(self.sampling_rate, np.float32)
        return tuple(self.open()(silence).shape)

    def open(self) -> Callable[[Wave], Array]:
        """What makes an array (1, ...) of a recording of the right sampling rate, values within
        -1..1. Call it on what `for_input` gave.

        Raises UsageError: transformers is needed and missing.
        """
        return self._waveform if self.extractor is None else self._features()

    def _waveform(self, wave: Wave) -> Array:
        length = len(wave) if self.length is None else self.length
        kept = wave[:length].astype(np.float32)
        if self.normalize:
            kept = (kept - kept.mean()) / np.sqrt(kept.var() + np.float32(_EPSILON))
        filled = np.pad(kept, (0, length - len(kept)), constant_values=self.padding_value)
        return filled[None]

    def _features(self) -> Callable[[Wave], Array]:
        settings = dict(self.extractor or {})
        name = str(settings.pop("feature_extractor_type", ""))
        try:
            import transformers
        except ModuleNotFoundError as error:
            raise UsageError(
                f"what {name} computes needs transformers",
                remedy="Run: pip install 'edgewise[transformers]'",
            ) from error
        extractor = getattr(transformers, name)(**settings)

        def compute(wave: Wave) -> Array:
            made = extractor(wave, sampling_rate=self.sampling_rate, return_tensors="np")
            return np.asarray(next(iter(made.values())))

        return compute
