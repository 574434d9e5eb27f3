"""A picture file to the array that a model takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgewise.data.source import Array, InputSpec
from edgewise.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

Color = Literal["rgb", "bgr", "gray"]
Resample = Literal["nearest", "lanczos", "bilinear", "bicubic"]
#: by the number that Pillow, and transformers after it, give them
RESAMPLE_BY_NUMBER: Mapping[int, Resample] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}
Layout = Literal["auto", "nchw", "nhwc"]


@dataclass(frozen=True, slots=True)
class ImagePreprocessing:
    """Resize, centre crop, order channels, then `(pixel - mean) / std` on the 0..255 scale.

    Attributes:
        resize: the short side in pixels, or (height, width) exactly. None: just large enough to
            cover the crop.
        resample: how pixels are computed when the size changes, with antialiasing but for
            `nearest`.
        crop: side, or (height, width), of the centre that is kept. None: the model's input size.
        color: order of the channels; `gray` is the luma of ITU-R 601.
        mean, std: one number per channel in that order, or one for all.
        layout: where the channels are; `auto` looks for the axis of 3 (`gray`: 1) in the input.
    """

    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    color: Color = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Layout = "auto"
    resample: Resample = "bilinear"

    def __post_init__(self) -> None:
        channels = self.channels
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels):
                raise UsageError(
                    f"'{name}' must hold 1 or {channels} numbers, found {len(numbers)}",
                    where="image preprocessing",
                )
        if not all(np.isfinite(self.mean)) or not all(s > 0 and np.isfinite(s) for s in self.std):
            raise UsageError(
                "'mean' must be finite and 'std' positive",
                where="image preprocessing",
                remedy="Both are on the 0..255 scale.",
            )
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and min(_pair(size)) < 1:
                raise UsageError(f"'{name}' must be positive", where="image preprocessing")

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifests and fingerprints."""
        return asdict(self)

    def for_input(self, spec: InputSpec) -> ImagePreprocessing:
        """The same preprocessing with layout and crop settled for one model input.

        Raises:
            DataError: the input is no picture, or its size or channels do not agree.
        """
        layout = self._layout_of(spec)
        channels = spec.shape[1 if layout == "nchw" else 3]
        if isinstance(channels, int) and channels != self.channels:
            raise DataError(
                f"input '{spec.name}' has {channels} channels",
                why=f"color '{self.color}' gives {self.channels}",
                remedy="Set color in [data.image] to rgb, bgr or gray.",
            )
        height, width = spec.shape[2:4] if layout == "nchw" else spec.shape[1:3]
        crop = self._crop_for(spec, height, width)
        self._check_resize(spec, crop)
        return replace(self, layout=layout, crop=crop)

    def _check_resize(self, spec: InputSpec, crop: tuple[int, int]) -> None:
        """The crop must fit into every resized picture; the short side may be either side."""
        if self.resize is None:
            return
        needed = crop if isinstance(self.resize, tuple) else (max(crop), max(crop))
        if any(have < need for have, need in zip(_pair(self.resize), needed, strict=True)):
            raise DataError(
                f"resize {self.resize} is smaller than the crop {crop}",
                where=f"input '{spec.name}'",
                remedy="Set resize and crop in [data.image].",
            )

    def _layout_of(self, spec: InputSpec) -> Literal["nchw", "nhwc"]:
        if len(spec.shape) != 4:
            raise DataError(
                f"input '{spec.name}' does not take pictures",
                why=f"its rank is {len(spec.shape)}, and pictures need 4",
                remedy="Give the data as .npz or as package.module:function.",
            )
        if self.layout != "auto":
            return self.layout
        first, last = spec.shape[1] == self.channels, spec.shape[3] == self.channels
        if first == last:
            raise DataError(
                f"cannot tell where the channels of input '{spec.name}' are",
                why=f"its shape is {spec.shape}, and color '{self.color}' has {self.channels}",
                remedy="Set layout (nchw or nhwc) and color in [data.image].",
            )
        return "nchw" if first else "nhwc"

    def _crop_for(
        self, spec: InputSpec, height: int | str | None, width: int | str | None
    ) -> tuple[int, int]:
        wanted = (None, None) if self.crop is None else _pair(self.crop)
        sides = []
        for name, model_side, crop_side in zip(
            ("height", "width"), (height, width), wanted, strict=True
        ):
            fixed = model_side if isinstance(model_side, int) else crop_side
            if fixed is None:
                raise DataError(
                    f"the {name} of input '{spec.name}' is not fixed",
                    remedy="Set crop in [data.image], or [model] input_shapes.",
                )
            if crop_side is not None and crop_side != fixed:
                raise DataError(
                    f"crop {self.crop} does not fit input '{spec.name}'",
                    why=f"its {name} is {fixed}",
                )
            sides.append(fixed)
        return sides[0], sides[1]

    def apply(self, picture: Image, dtype: np.dtype[Any]) -> Array:
        """The array (1, C, H, W) or (1, H, W, C) of an opened 8-bit picture.

        Call it on what `for_input` gave.
        """
        if self.crop is None or self.layout == "auto":
            raise ValueError("preprocessing must be settled by for_input first")
        converted = picture.convert("L" if self.color == "gray" else "RGB")
        crop = _pair(self.crop)
        cropped = _centre(_resized(converted, self.resize, crop, self.resample), crop)
        pixels = np.asarray(cropped, dtype=np.float32)
        pixels = pixels.reshape(*pixels.shape[:2], self.channels)
        if self.color == "bgr":
            pixels = pixels[:, :, ::-1]
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        values = (pixels - mean) / std
        if self.layout == "nchw":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(_as_dtype(values, dtype)[None])


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _as_dtype(values: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> Array:
    if dtype.kind not in "iu":
        return values.astype(dtype)
    info = np.iinfo(dtype)
    rounded = np.rint(values)
    if rounded.min() < info.min or rounded.max() > info.max:
        raise DataError(
            f"normalized pixels do not fit the input's type {dtype}",
            why=f"they reach from {rounded.min():g} to {rounded.max():g}",
            remedy="Set mean and std in [data.image].",
        )
    return rounded.astype(dtype)


def _resized(
    picture: Image,
    resize: int | tuple[int, int] | None,
    crop: tuple[int, int],
    resample: Resample,
) -> Image:
    from PIL.Image import Resampling

    width, height = picture.size
    if isinstance(resize, tuple):
        size = (resize[1], resize[0])
    else:
        if resize is not None:
            ratio = resize / min(width, height)
        else:
            ratio = max(crop[0] / height, crop[1] / width)
        short = max(round(min(width, height) * ratio), 1)
        long = max(int(max(width, height) * ratio), short)
        size = (short, long) if width <= height else (long, short)
        size = (max(size[0], crop[1]), max(size[1], crop[0]))  # rounding must not undercut
    return picture if size == picture.size else picture.resize(size, Resampling[resample.upper()])


def _centre(picture: Image, crop: tuple[int, int]) -> Image:
    width, height = picture.size
    left, top = (width - crop[1]) // 2, (height - crop[0]) // 2  # an odd pixel goes to the end
    return picture.crop((left, top, left + crop[1], top + crop[0]))


def read_picture(path: Path) -> tuple[Image, str]:
    """The picture, upright by its EXIF orientation, and the mode it was stored in.

    Raises:
        DataError: the file cannot be read or decoded.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # size and metadata remarks of the decoder
            with Image.open(path) as file:
                mode = file.mode
                picture = ImageOps.exif_transpose(file)
                picture.load()
    except Exception as error:  # each decoder raises its own types on damaged files
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            "cannot read this picture",
            where=str(path),
            why=why.replace(f" '{path}'", ""),
            remedy="Repair or remove the file.",
        ) from error
    return _eight_bits(picture, path), mode


def _eight_bits(picture: Image, path: Path) -> Image:
    """16-bit pictures scaled to 8 bits; the decoder's own conversion would saturate."""
    from PIL import Image

    if picture.mode.startswith("I;16"):
        wide = np.asarray(picture).astype(np.float32)
        return Image.fromarray(np.rint(wide / 257.0).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise DataError(
            f"pixels of mode {picture.mode} have no known scale",
            where=str(path),
            remedy="Store the picture with 8 or 16 bits per channel.",
        )
    return picture
