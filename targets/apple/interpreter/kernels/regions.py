"""Parts of images, and images in blocks (coremltools MIL ops: image_resizing.py of iOS15 to iOS17,
`space_to_batch` and `batch_to_space` of tensor_transformation.py).

`affine` reads the image at x' = a0 x + a1 y + a2, y' = b0 x + b1 y + b2, both in -1 .. 1 between
the middles of the outer pixels: `resample` at a grid that is linear. `crop_resize` reads,
bilinearly, a grid over each box; between start and end of a box there are n samples at
    STRICT_ALIGN_CORNERS, ALIGN_CORNERS   both ends and evenly between; a single one at the start,
                                          or in the middle
    OFFSET_CORNERS                        the middles of n equal parts (no part less than 1 / n)
What lies outside of the image is `pad_value`.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run
from edgewise.targets.apple.interpreter.kernels.sampling import resample

_SPATIAL_RANK = 2


def _crop(node: Node) -> Run:
    (top, bottom), (left, right) = node.ints("crop_height") or [], node.ints("crop_width") or []

    def run(inputs: Inputs) -> Result:
        height, width = inputs["x"].shape[-2:]
        return inputs["x"][..., top : height - bottom, left : width - right]

    return run


def _affine(node: Node) -> Run:
    height, width = node.integer("output_height", 1), node.integer("output_width", 1)
    if not node.flag("align_corners"):
        raise node.refuse("align_corners=False is not supported by Core ML")
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in (height, width))
    places = np.stack([*np.broadcast_arrays(x[None, :], y[:, None], np.float32(1))], axis=-1)

    def run(inputs: Inputs) -> Result:
        matrix = inputs["transform_matrix"].reshape(-1, 2, 3).astype(np.float32)
        grid = np.einsum("hwk,bck->bhwc", places, matrix)
        batch = inputs["x"].shape[0]
        coordinates = np.broadcast_to(grid, (batch, *grid.shape[1:]))
        return read({**inputs, "coordinates": coordinates})

    read = resample(node)
    return run


def _corners(boxes: Array, mode: str) -> Array:
    """[N, 4] as top, left, bottom, right."""
    first, second = (boxes[:, :2], boxes[:, 2:]) if mode.endswith("HEIGHT_FIRST") else (
        boxes[:, 1::-1], boxes[:, :1:-1]
    )  # fmt: skip
    if mode.startswith("CENTER_SIZE"):
        first, second = first - second / 2, first + second / 2
    return np.concatenate([first, second], axis=1)


def _grid(start: Array, end: Array, count: int, mode: str) -> Array:
    """[N, count] places along one axis."""
    if mode == "OFFSET_CORNERS":
        part = np.maximum(end - start, 1) / count
        return np.asarray(start[:, None] + (np.arange(count) + 0.5) * part[:, None])
    if count == 1:
        return (start if mode == "STRICT_ALIGN_CORNERS" else (start + end) / 2)[:, None]
    return start[:, None] + np.arange(count) * ((end - start) / (count - 1))[:, None]


def _bilinear(image: Array, rows: Array, columns: Array, outside: np.float32) -> Array:
    """[C, H, W] read at every row and column."""
    result = image
    for axis, places in ((1, rows), (2, columns)):
        last = result.shape[axis] - 1
        low = np.clip(np.floor(places), 0, last).astype(np.int64)
        share = np.clip(places - low, 0, 1).astype(np.float32)
        share = share.reshape([-1 if k == axis else 1 for k in range(3)])
        above = np.take(result, np.minimum(low + 1, last), axis=axis)
        result = np.take(result, low, axis=axis) * (1 - share) + above * share
    bad_rows, bad_columns = (
        (places < 0) | (places > size - 1)
        for places, size in zip((rows, columns), image.shape[1:], strict=True)
    )
    return np.where(bad_rows[:, None] | bad_columns[None, :], outside, result)


def _crop_resize(node: Node) -> Run:
    sizes = node.integer("target_height", 1), node.integer("target_width", 1)
    mode = node.text("sampling_mode", "DEFAULT")
    if mode not in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS"):
        raise node.refuse(f"sampling_mode {mode} has no documented grid for boxes")
    order = node.text("box_coordinate_mode", "CORNERS_HEIGHT_FIRST")
    normalized, scale = node.flag("normalized_coordinates"), node.number("spatial_scale", 1)
    outside = node.number("pad_value", 0)

    def one(image: Array, box: Array) -> Array:
        longest = np.array(image.shape[1:], np.float32) - 1
        box = _corners(box[None].astype(np.float32), order)[0] * scale
        box = box * np.tile(longest, 2) if normalized else box
        rows, columns = (
            _grid(box[k : k + 1], box[k + 2 : k + 3], sizes[k], mode)[0] for k in (0, 1)
        )
        return _bilinear(image, rows, columns, outside)

    def of_regions(inputs: Inputs) -> Result:
        """iOS15 and iOS16: boxes of every image, or of the one whose number comes first."""
        x, regions = inputs["x"], inputs["roi"].reshape(inputs["roi"].shape[0], -1)
        if regions.shape[1] == 2 * _SPATIAL_RANK:
            return np.stack([np.stack([one(image, box) for image in x]) for box in regions])
        return np.stack([one(x[int(region[0])], region[1:])[None] for region in regions])

    def of_boxes(inputs: Inputs) -> Result:
        """iOS17: each box with the number of its image."""
        x, boxes = inputs["x"], inputs["boxes"]
        numbers = np.asarray(inputs.get("box_indices", np.arange(len(boxes))))
        pairs = zip(numbers.tolist(), boxes, strict=True)
        return np.stack([one(x[number], box) for number, box in pairs])

    return of_boxes if node.has("boxes") else of_regions


def _space_to_batch(node: Node) -> Run:
    """The place within a block becomes the outer part of the batch."""
    (rows, columns), pads = node.ints("block_shape") or [], node.ints("paddings") or []

    def run(inputs: Inputs) -> Result:
        x = np.pad(inputs["x"], [(0, 0), (0, 0), tuple(pads[:2]), tuple(pads[2:])])
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // rows, rows, w // columns, columns)
        return blocks.transpose(3, 5, 0, 1, 2, 4).reshape(-1, c, h // rows, w // columns)

    return run


def _batch_to_space(node: Node) -> Run:
    (rows, columns), crops = node.ints("block_shape") or [], node.ints("crops") or []

    def run(inputs: Inputs) -> Result:
        c, h, w = inputs["x"].shape[1:]
        blocks = inputs["x"].reshape(rows, columns, -1, c, h, w).transpose(2, 3, 4, 0, 5, 1)
        x = blocks.reshape(-1, c, h * rows, w * columns)
        return x[:, :, crops[0] : h * rows - crops[1], crops[2] : w * columns - crops[3]]

    return run


KERNELS: dict[str, Kernel] = {
    "affine": _affine,
    "batch_to_space": _batch_to_space,
    "crop": _crop,
    "crop_resize": _crop_resize,
    "space_to_batch": _space_to_batch,
}
