"""One example of the user's data before the model's inputs are known.

For sources that take the shapes of their inputs from data. What cannot be told without the model
is left as it is: names are those of the data, and pictures, which have none, get the name "".
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.data.image import ImagePreprocessing
from edgewise.data.opening import open_source
from edgewise.data.source import Array, InputSpec
from edgewise.errors import EdgewiseError, UsageError
from edgewise.references import is_reference, resolve

#: pixels without a preprocessing: the model will see them as float
_PIXELS = np.dtype(np.float32)


def peek(
    spec: str | Path | None,
    *,
    image: ImagePreprocessing | None = None,
    base: Path | None = None,
) -> Mapping[str, Array] | None:
    """The first example of the data, with a leading batch axis of 1 as far as can be told.

    1. `.npz`: the first row of each array that is not the labels; pictures in it go through `image`
    2. `package.module:function`: the first example; an array whose first axis is 1 stays as it is
    3. pictures: one under the name "", if `image` tells its size; channels first unless `image`
       says otherwise

    None where nothing can be told: whatever is wrong with the data is said when it is opened for
    the model.
    """
    if spec is None:
        return None
    path = (Path.cwd() if base is None else base) / str(spec)
    try:
        if path.suffix.lower() == ".npz":
            return _arrays(path, image)
        if not path.exists() and is_reference(str(spec)):
            return _from_function(str(spec), base)
        return _picture(str(spec), image, base)
    except (EdgewiseError, OSError, ValueError):
        return None


def _arrays(path: Path, image: ImagePreprocessing | None) -> Mapping[str, Array] | None:
    from edgewise.data.arrays import LABEL_NAMES, first_rows

    rows = first_rows(path)
    feeds = {name: row for name, row in rows.items() if name not in LABEL_NAMES}
    if image is not None and len(feeds) == 1:
        ((name, row),) = feeds.items()
        if row.dtype == np.uint8 and row.ndim == 4 and row.shape[3] in (1, 3):
            return {name: _zeros(image, tuple(row.shape[1:3]))}
    return feeds or None


def _from_function(text: str, base: Path | None) -> Mapping[str, Array] | None:
    function: Any = resolve(text, base=base, error=UsageError)
    try:
        item = next(islice(function(), 1), None)
    except Exception:  # user code may raise anything; it is told when the data are opened
        return None
    feeds = item[0] if isinstance(item, tuple) and len(item) == 2 else item
    if not isinstance(feeds, Mapping) or not feeds:
        return None
    arrays = {str(name): np.asarray(array) for name, array in feeds.items()}
    return {n: a if a.shape[:1] == (1,) else a[None] for n, a in arrays.items()}


def _picture(
    text: str, image: ImagePreprocessing | None, base: Path | None
) -> Mapping[str, Array] | None:
    if image is None:
        return None
    size = image.crop or (image.resize if isinstance(image.resize, tuple) else None)
    if size is None:
        return None
    blank = _zeros(image, (size, size) if isinstance(size, int) else size)
    spec = InputSpec("", blank.shape, _PIXELS)
    return next(
        iter(open_source(text, inputs=[spec], preprocessing=image, limit=1, base=base))
    ).feeds


def _zeros(image: ImagePreprocessing, size: tuple[int, ...]) -> Array:
    """An input of the size that the preprocessing gives."""
    sides = image.crop or size
    height, width = (sides, sides) if isinstance(sides, int) else sides
    channels_last = image.layout == "nhwc"
    shape = (height, width, image.channels) if channels_last else (image.channels, height, width)
    return np.zeros((1, *shape), _PIXELS)
