"""The arithmetic of image preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgewise.data import ImagePreprocessing, InputSpec
from edgewise.data.image import read_picture
from edgewise.errors import DataError, UsageError

FLOAT = np.dtype(np.float32)


def spec(*shape: int | str | None, dtype: np.dtype = FLOAT) -> InputSpec:
    return InputSpec("image", shape, dtype)


def picture(height: int, width: int, seed: int = 0) -> tuple[Image.Image, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels), pixels


def test_crop_normalize_and_layout():
    image, pixels = picture(7, 10)
    settings_ = ImagePreprocessing(
        resize=7, crop=(5, 4), mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0)
    )
    expected = (pixels[1:6, 3:7].astype(np.float32) - [10, 20, 30]) / [2, 4, 8]
    nhwc = settings_.for_input(spec(1, 5, 4, 3)).apply(image, FLOAT)
    nchw = settings_.for_input(spec(1, 3, 5, 4)).apply(image, FLOAT)
    np.testing.assert_array_equal(nhwc[0], expected.astype(np.float32))
    np.testing.assert_array_equal(nchw, nhwc.transpose(0, 3, 1, 2))
    assert nchw.dtype == np.float32 and nchw.flags.c_contiguous


def test_color_orders():
    image, pixels = picture(4, 4)
    bgr = ImagePreprocessing(color="bgr").for_input(spec(1, 3, 4, 4)).apply(image, FLOAT)
    np.testing.assert_array_equal(bgr[0, 0], pixels[:, :, 2].astype(np.float32))
    gray = ImagePreprocessing(color="gray").for_input(spec(1, 1, 4, 4)).apply(image, FLOAT)
    luma = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(gray[0, 0], luma, atol=1.0)


def test_resize_keeps_the_aspect_and_interpolates_bilinearly():
    image, _ = picture(20, 40)
    settled = ImagePreprocessing(resize=10).for_input(spec(1, 10, 10, 3))
    expected = np.asarray(image.resize((20, 10), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_array_equal(settled.apply(image, FLOAT)[0], expected[:, 5:15])


def test_exact_resize_ignores_the_aspect():
    image, _ = picture(20, 40)
    settled = ImagePreprocessing(resize=(6, 5)).for_input(spec(1, 6, 5, 3))
    expected = np.asarray(image.resize((5, 6), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_array_equal(settled.apply(image, FLOAT)[0], expected)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    crop=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    extra=st.none() | st.integers(0, 20),
)
def test_any_picture_gives_the_cropped_size(height, width, crop, extra):
    resize = None if extra is None else max(crop) + extra
    settled = ImagePreprocessing(resize=resize, crop=crop).for_input(spec(1, None, None, 3))
    array = settled.apply(picture(height, width)[0], FLOAT)
    assert array.shape == (1, *crop, 3)
    assert array.min() >= 0 and array.max() <= 255


def test_integer_inputs_take_integral_pixels():
    image, pixels = picture(4, 4)
    uint8 = ImagePreprocessing().for_input(spec(1, 4, 4, 3)).apply(image, np.dtype(np.uint8))
    np.testing.assert_array_equal(uint8[0], pixels)
    shifted = ImagePreprocessing(mean=(128.0,)).for_input(spec(1, 4, 4, 3))
    int8 = shifted.apply(image, np.dtype(np.int8))
    np.testing.assert_array_equal(int8[0], (pixels.astype(np.int16) - 128).astype(np.int8))
    with pytest.raises(DataError, match="do not fit"):
        shifted.apply(image, np.dtype(np.uint8))


@pytest.mark.parametrize(
    ("settings_", "shape", "message"),
    [
        (ImagePreprocessing(), (1, 10), "rank is 2"),
        (ImagePreprocessing(), (1, 3, 8, 3), "cannot tell where the channels"),
        (ImagePreprocessing(), (1, 1, 8, 8), "cannot tell where the channels"),
        (ImagePreprocessing(layout="nchw"), (1, 1, 8, 8), "1 channels.*'rgb' gives 3"),
        (ImagePreprocessing(crop=9), (1, 3, 8, 8), "crop 9 does not fit.*height is 8"),
        (ImagePreprocessing(resize=7), (1, 3, 8, 8), "smaller than the crop"),
        (ImagePreprocessing(), (1, 3, "h", "w"), "height.*not fixed"),
    ],
)
def test_settings_that_do_not_fit_the_input(settings_, shape, message):
    with pytest.raises(DataError, match=message):
        settings_.for_input(spec(*shape))


@pytest.mark.parametrize(
    "arguments",
    [
        {"mean": (1.0, 2.0)},
        {"std": (0.0,)},
        {"std": (float("nan"),)},
        {"crop": 0},
        {"resize": (4, -1)},
        {"color": "gray", "mean": (1.0, 2.0, 3.0)},
    ],
)
def test_senseless_settings(arguments):
    with pytest.raises(UsageError):
        ImagePreprocessing(**arguments)


def test_exif_orientation_is_applied(tmp_path):
    image, pixels = picture(8, 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    upright, _ = read_picture(tmp_path / "turned.png")
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(pixels, -1))


def test_sixteen_bit_grayscale_is_scaled_not_saturated(tmp_path):
    wide = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    narrow, _ = read_picture(tmp_path / "wide.png")
    np.testing.assert_array_equal(np.asarray(narrow), [[0, 100], [200, 255]])
