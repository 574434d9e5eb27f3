"""What comes with a model for its inputs: image processor, tokenizer or feature extractor.

What an image processor does is written as `ImagePreprocessing`, and then tried: both prepare a
picture, and where they differ the preprocessing is not told, and a finding says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgewise.data.audio import AudioPreprocessing
from edgewise.data.image import RESAMPLE_BY_NUMBER, ImagePreprocessing
from edgewise.data.source import InputSpec
from edgewise.data.text import FIELDS, Pairs, TextPreprocessing
from edgewise.errors import EdgewiseError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.huggingface.place import Place
from edgewise.exporters.huggingface.tasks import NEEDED_FOR
from edgewise.exporters.quiet import quiet
from edgewise.findings import Finding
from edgewise.references import describe

#: a picture of no special size: height, width
_TRIED = (97, 131)
#: of the range of the processor's values: libraries round resized pixels in different places
_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Loaded:
    """A processor of transformers, or why there is none."""

    processor: Any = None
    why: str = ""

    def finding(self, what: str) -> tuple[Finding, ...]:
        if not self.why:
            return ()
        return (
            Finding(
                "export/preprocessing",
                "warning",
                f"the preprocessing is not known: {what}: {self.why}",
                remedy="Save it beside the model (save_pretrained), or describe pictures in "
                "[data.image].",
            ),
        )


def load_processor(place: Place | None, auto_class: str, *, allow_code: bool) -> Loaded:
    """The processor that lies beside the model, through an auto class of transformers."""
    if place is None:
        return Loaded(why="a model in memory brings none")
    transformers = import_extra("transformers", needed_for=NEEDED_FOR)
    try:
        with quiet():
            made = getattr(transformers, auto_class).from_pretrained(
                place.name, trust_remote_code=allow_code, **place.arguments
            )
    except Exception as error:  # files that are missing or wrong raise what they like
        return Loaded(why=str(error).strip().splitlines()[0] if str(error) else describe(error))
    return Loaded(made)


def image_preprocessing(
    processor: Any, spec: InputSpec
) -> tuple[ImagePreprocessing | None, tuple[Finding, ...]]:
    """What the image processor does; None and a finding where it cannot be described."""
    try:
        made = _described(processor.to_dict(), type(processor).__name__)
        difference = _difference(processor, made, spec)
    except (EdgewiseError, KeyError, TypeError, ValueError) as error:
        why = str(error) or type(error).__name__
    else:
        if difference <= _TOLERANCE:
            return made, ()
        why = f"a picture differs by {difference:.2g} of its range when described as [data.image]"
    loaded = Loaded(why=why)
    return None, loaded.finding(type(processor).__name__)


def _described(settings: Mapping[str, Any], name: str) -> ImagePreprocessing:
    size: Mapping[str, int] = settings.get("size") or {}
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    if settings.get("do_resize"):
        if size.get("shortest_edge"):
            resize = size["shortest_edge"]
        else:
            resize = crop = (size["height"], size["width"])
    if name.startswith("ConvNext") and isinstance(resize, int):
        crop = (resize, resize)  # below 384 the picture is made larger, and cropped
        resize = int(resize / settings["crop_pct"]) if resize < 384 else crop
    if settings.get("do_center_crop"):
        crop = (settings["crop_size"]["height"], settings["crop_size"]["width"])
    mean, std = np.zeros(1), np.ones(1)
    if settings.get("do_normalize"):
        mean, std = (np.asarray(settings[key], np.float64) for key in ("image_mean", "image_std"))
    if settings.get("include_top"):  # EfficientNet divides once more
        std = std * np.asarray(settings["image_std"], np.float64)
    scale = settings["rescale_factor"] if settings.get("do_rescale") else 1.0
    return ImagePreprocessing(
        resize=resize,
        crop=crop,
        resample=RESAMPLE_BY_NUMBER[int(settings.get("resample") or 0)],
        color="bgr" if settings.get("do_flip_channel_order") else "rgb",
        mean=_numbers(mean / scale),
        std=_numbers(std / scale),
    )


def _numbers(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    numbers = tuple(float(f"{value:.9g}") for value in values)
    return numbers[:1] if len(set(numbers)) == 1 else numbers


def _difference(processor: Any, made: ImagePreprocessing, spec: InputSpec) -> float:
    """Mean difference of a smooth picture, as a share of its range."""
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3)).astype(np.uint8))
    picture = coarse.resize((_TRIED[1], _TRIED[0]), Image.Resampling.BICUBIC)
    with quiet():
        wanted = np.asarray(processor(picture, return_tensors="np")["pixel_values"])
    found = made.for_input(spec).apply(picture, np.dtype(np.float32))
    if wanted.shape != found.shape:
        raise ValueError(f"it gives {list(wanted.shape)}, and the model takes {list(found.shape)}")
    return float(np.abs(wanted - found).mean() / max(float(np.ptp(wanted)), 1e-9))


def text_preprocessing(
    tokenizer: Any,
    length: int,
    pairs: Pairs,
    *,
    lower: bool = False,
    states: Mapping[str, str] | None = None,
) -> tuple[TextPreprocessing | None, tuple[Finding, ...]]:
    """What the tokenizer does, cut and filled up to `length` tokens; a finding where it has no
    `tokenizer.json`, or nothing to fill up with."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        why = "it is written in Python alone, and cannot be stored as tokenizer.json"
        return None, Loaded(why=why).finding(type(tokenizer).__name__)
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Lowercase, Sequence

    copy = Tokenizer.from_str(backend.to_str())
    if lower:
        steps = [Lowercase(), *([] if copy.normalizer is None else [copy.normalizer])]
        copy.normalizer = Sequence(steps)
    copy.enable_truncation(length, direction=tokenizer.truncation_side)
    token = tokenizer.pad_token or tokenizer.eos_token or ""
    number = copy.token_to_id(token)
    copy.enable_padding(
        length=length,
        direction=tokenizer.padding_side,
        pad_id=0 if number is None else number,
        pad_type_id=int(getattr(tokenizer, "pad_token_type_id", 0)),
        pad_token=token,
    )
    return TextPreprocessing(copy.to_str(), length, pairs, states or {}), ()


def text_inputs(tokenizer: Any, known: frozenset[str]) -> tuple[str, ...]:
    """What the tokenizer gives and the model takes."""
    names = getattr(tokenizer, "model_input_names", None) or ("input_ids", "attention_mask")
    return tuple(name for name in FIELDS if name in names and name in known)


def audio_preprocessing(extractor: Any) -> AudioPreprocessing:
    """What the feature extractor does, with a length of one second for waveforms."""
    rate = int(extractor.sampling_rate)
    if type(extractor).__name__ == "Wav2Vec2FeatureExtractor":
        return AudioPreprocessing(
            rate, rate, bool(extractor.do_normalize), float(extractor.padding_value)
        )
    settings = cast(dict[str, Any], extractor.to_dict())
    settings["feature_extractor_type"] = type(extractor).__name__
    return AudioPreprocessing(rate, extractor=settings)
