"""From what the user wrote to a data source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgewise.data.image import ImagePreprocessing
from edgewise.data.source import DataSource, InputSpec
from edgewise.data.specs import single_input
from edgewise.errors import DataError, UsageError
from edgewise.findings import Finding
from edgewise.references import is_reference, resolve

_KINDS = "a folder of pictures, a labels .csv, an .npz, or package.module:function"


def open_source(
    spec: str | Path,
    *,
    inputs: Sequence[InputSpec],
    image: ImagePreprocessing | None = None,
    limit: int | None = None,
    require_labels: bool = False,
    base: Path | None = None,
) -> DataSource:
    """The data that `spec` names, of one of these kinds:

    1. a folder of pictures: sub-folders are classes, a flat folder has no labels
    2. a labels CSV with columns `file` and `class`; `labels.csv#split=eval` takes only the rows
       whose column `split` is `eval`
    3. an `.npz` with arrays named after the inputs and, for labels, an array `label`
    4. `package.module:function` or `file.py:function` that yields `(feeds, label)`

    Args:
        inputs: what the model takes, see `input_specs`.
        image: for pictures; by default they are fitted to the input, with pixels from 0 to 255.
        limit: at most that many examples, see `edgewise.data.selection.spread`.
        require_labels: for evaluation.
        base: folder that relative paths start from; the working directory by default.

    Raises:
        UsageError: the path, module or function does not exist, or the kind is unknown.
        DataError: the data does not fit, cannot be read, is empty or lacks required labels.
    """
    text = str(spec)
    folder = Path.cwd() if base is None else base
    path, column, wanted = _split_fragment(folder / text)
    source: DataSource
    if not path.exists() and is_reference(text):
        source = _open_function(text, inputs, limit, folder)
    elif not path.exists():
        raise UsageError("no such file or folder", where=text, remedy=f"Data is {_KINDS}.")
    elif path.is_dir() or path.suffix.lower() == ".csv":
        source = _open_pictures(text, path, column, wanted, inputs, image, limit)
    elif path.suffix.lower() == ".npz":
        source = _open_arrays(text, path, inputs, image, limit)
    else:
        raise UsageError("unknown kind of data", where=text, remedy=f"Data is {_KINDS}.")
    if require_labels and not source.labelled:
        raise _no_labels(text, path)
    return source


def _split_fragment(path: Path) -> tuple[Path, str, str]:
    """`labels.csv#column=value` in its parts, unless a file has just that name."""
    head, mark, fragment = path.name.partition("#")
    if path.exists() or not mark:
        return path, "", ""
    column, equals, value = fragment.partition("=")
    if not equals or not column or not head.lower().endswith(".csv"):
        raise UsageError(
            "cannot understand what follows the #",
            where=path.name,
            remedy="Rows of a labels CSV are selected as in labels.csv#split=eval.",
        )
    return path.with_name(head), column, value


def _open_pictures(
    text: str,
    path: Path,
    column: str,
    wanted: str,
    inputs: Sequence[InputSpec],
    image: ImagePreprocessing | None,
    limit: int | None,
) -> DataSource:
    from edgewise.data.pictures import PictureSource, list_csv, list_folder

    listing = list_folder(path) if path.is_dir() else list_csv(path, column, wanted)
    spec = single_input(inputs, text)
    chosen = _default_image(spec) if image is None else image
    source = PictureSource(listing, spec, chosen, description=text, limit=limit)
    if image is None and spec.dtype.kind == "f":
        source.findings.append(
            Finding(
                "data/raw-pixels",
                "warning",
                f"no preprocessing is given for {text}: the model sees pixels from 0 to 255",
                remedy="Set mean and std in [data.image] to what the model was trained with.",
            )
        )
    return source


def _default_image(spec: InputSpec) -> ImagePreprocessing:
    gray = len(spec.shape) == 4 and 1 in (spec.shape[1], spec.shape[3])
    return ImagePreprocessing(color="gray" if gray else "rgb")


def _open_arrays(
    text: str,
    path: Path,
    inputs: Sequence[InputSpec],
    image: ImagePreprocessing | None,
    limit: int | None,
) -> DataSource:
    from edgewise.data.arrays import ArraySource

    return ArraySource(path, inputs, description=text, image=image, limit=limit)


def _open_function(
    text: str, inputs: Sequence[InputSpec], limit: int | None, folder: Path
) -> DataSource:
    from edgewise.data.function import FunctionSource

    function = resolve(text, base=folder, error=DataError)
    if not callable(function):
        raise UsageError("is not a function", where=text, why=f"found {type(function).__name__}")
    return FunctionSource(function, inputs, description=text, limit=limit)


def _no_labels(text: str, path: Path) -> DataError:
    if path.is_dir():
        remedy = "Sort the pictures into one sub-folder per class, or give a CSV: file,class"
    elif path.suffix.lower() == ".csv":
        remedy = "Add a column 'class' to the CSV."
    elif path.is_file():
        remedy = "Add an array 'label' with one label per example."
    else:
        remedy = "Yield (feeds, label) with a label that is not None."
    return DataError("evaluation needs labels, and there are none", where=text, remedy=remedy)
