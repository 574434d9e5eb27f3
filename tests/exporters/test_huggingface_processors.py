"""Image processors of transformers as `[data.image]`: the same pictures, or a finding."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgewise.data.source import InputSpec
from edgewise.exporters.huggingface.processors import image_preprocessing
from edgewise.exporters.quiet import quiet

with quiet():
    hf = pytest.importorskip("transformers")

SQUARE = {"height": 32, "width": 32}
#: class, settings, resize, crop
CASES = {
    "exact size": ("ViTImageProcessorPil", {"size": SQUARE, "resample": 3}, (32, 32), (32, 32)),
    "centre crop": (
        "CLIPImageProcessorPil",
        {"size": {"shortest_edge": 40}, "crop_size": SQUARE},
        40,
        (32, 32),
    ),
    "crop by percentage": (
        "ConvNextImageProcessorPil",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.8},
        40,
        (32, 32),
    ),
    "normalized twice": (
        "EfficientNetImageProcessorPil",
        {"size": SQUARE, "include_top": True},
        (32, 32),
        (32, 32),
    ),
    "bgr": (
        "MobileViTImageProcessorPil",
        {"size": {"shortest_edge": 36}, "crop_size": SQUARE, "do_flip_channel_order": True},
        36,
        (32, 32),
    ),
}


def made(name: str, settings: dict):
    with quiet():
        return getattr(hf, name)(**settings)


@pytest.mark.parametrize(("name", "settings", "resize", "crop"), CASES.values(), ids=CASES)
def test_both_make_the_same_of_a_picture(name, settings, resize, crop) -> None:
    processor = made(name, settings)
    spec = InputSpec("pixel_values", (1, 3, 32, 32), np.dtype(np.float32))
    found, findings = image_preprocessing(processor, spec)
    assert found is not None and findings == ()
    assert (found.resize, found.crop) == (resize, crop)
    pixels = np.random.default_rng(1).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels).resize((70, 50), Image.Resampling.BICUBIC)
    expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"])
    array = found.for_input(spec).apply(picture, spec.dtype)
    assert np.abs(array - expected).mean() < 0.01 * np.ptp(expected)


def test_what_cannot_be_described_is_left_out_and_told() -> None:
    processor = made("EfficientNetImageProcessorPil", {"size": SQUARE, "rescale_offset": True})
    spec = InputSpec("pixel_values", (1, 3, 32, 32), np.dtype(np.float32))
    found, (finding,) = image_preprocessing(processor, spec)
    assert found is None
    assert finding.rule == "export/preprocessing" and "differs by" in finding.message
    assert "[data.image]" in finding.remedy
