"""From what the user wrote to a data source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgewise.data.audio import AudioPreprocessing
from edgewise.data.image import ImagePreprocessing
from edgewise.data.preprocessing import Preprocessing, TextColumns
from edgewise.data.source import DataSource, InputSpec
from edgewise.data.specs import single_input
from edgewise.data.steps import Run
from edgewise.data.text import TextPreprocessing
from edgewise.errors import DataError, UsageError
from edgewise.findings import Finding
from edgewise.references import is_reference, resolve

_KINDS = (
    "a folder of pictures or recordings, a labels .csv, an .npz, texts (.csv, .tsv, .jsonl, .txt), "
    "or package.module:function"
)
_UNSAID = TextColumns()


def open_source(
    spec: str | Path,
    *,
    inputs: Sequence[InputSpec],
    preprocessing: Preprocessing | None = None,
    columns: TextColumns = _UNSAID,
    model_labels: Sequence[str] = (),
    open_run: Callable[[], Run] | None = None,
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
    5. texts, for a model that comes with a tokenizer: see `edgewise.data.tables`; rows are selected
       as in 2
    6. a folder of recordings, for a model of sounds: see `edgewise.data.recordings`

    Args:
        inputs: what the model takes, see `input_specs`.
        preprocessing: of pictures, texts or recordings; pictures without any are fitted to the
            input, with pixels from 0 to 255.
        columns: of texts.
        model_labels: names of the model's classes: data that use the same names get its numbers.
        open_run: of a decoder that is fed with texts: makes its model runnable.
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
    elif _holds_texts(path, preprocessing):
        chosen = (column, wanted) if column else None
        source = _open_texts(
            text, path, chosen, inputs, preprocessing, columns, model_labels, open_run, limit
        )
    elif path.is_dir() and isinstance(preprocessing, AudioPreprocessing):
        source = _open_recordings(text, path, inputs, preprocessing, model_labels, limit)
    elif path.is_dir() or path.suffix.lower() == ".csv":
        image = preprocessing if isinstance(preprocessing, ImagePreprocessing) else None
        source = _open_pictures(text, path, column, wanted, inputs, image, model_labels, limit)
    elif path.suffix.lower() == ".npz":
        image = preprocessing if isinstance(preprocessing, ImagePreprocessing) else None
        source = _open_arrays(text, path, inputs, image, limit)
    else:
        raise UsageError("unknown kind of data", where=text, remedy=f"Data is {_KINDS}.")
    if model_labels and not set(source.class_names) <= set(model_labels):
        source.findings.append(_unknown_classes(text, source.class_names, model_labels))
    if require_labels and not source.labelled:
        raise _no_labels(text, path)
    return source


def _split_fragment(path: Path) -> tuple[Path, str, str]:
    """`labels.csv#column=value` in its parts, unless a file has just that name."""
    head, mark, fragment = path.name.partition("#")
    if path.exists() or not mark:
        return path, "", ""
    column, equals, value = fragment.partition("=")
    if not equals or not column or not head.lower().endswith((".csv", ".tsv", ".jsonl")):
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
    model_labels: Sequence[str],
    limit: int | None,
) -> DataSource:
    from edgewise.data.folders import list_folder
    from edgewise.data.pictures import SUFFIXES, PictureSource, list_csv

    found = (
        list_folder(path, SUFFIXES, "picture") if path.is_dir() else list_csv(path, column, wanted)
    )
    listing = found.numbered_by(model_labels)
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


def _holds_texts(path: Path, preprocessing: Preprocessing | None) -> bool:
    """A `.csv` lists pictures, unless the model takes texts."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return isinstance(preprocessing, TextPreprocessing)
    return suffix in (".jsonl", ".tsv", ".txt") and path.is_file()


def _open_texts(
    text: str,
    path: Path,
    chosen: tuple[str, str] | None,
    inputs: Sequence[InputSpec],
    preprocessing: Preprocessing | None,
    columns: TextColumns,
    model_labels: Sequence[str],
    open_run: Callable[[], Run] | None,
    limit: int | None,
) -> DataSource:
    from edgewise.data.steps import StepSource
    from edgewise.data.tables import open_table
    from edgewise.data.texts import TextSource

    if not isinstance(preprocessing, TextPreprocessing):
        raise DataError(
            "texts need the tokenizer of the model, and none is known",
            where=text,
            remedy="Start from the Hugging Face folder with its tokenizer, or give tokens as .npz.",
        )
    table = open_table(path, columns, chosen)
    if not preprocessing.states:
        return TextSource(
            table,
            inputs,
            preprocessing,
            description=text,
            limit=limit,
            model_labels=model_labels,
        )
    if open_run is None:
        raise DataError("texts of a decoder need the model that makes its caches", where=text)
    return StepSource(table, inputs, preprocessing, open_run, description=text, limit=limit)


def _open_recordings(
    text: str,
    path: Path,
    inputs: Sequence[InputSpec],
    audio: AudioPreprocessing,
    model_labels: Sequence[str],
    limit: int | None,
) -> DataSource:
    from edgewise.data.folders import list_folder
    from edgewise.data.recordings import SUFFIXES, RecordingSource

    listing = list_folder(path, SUFFIXES, "recording").numbered_by(model_labels)
    spec = single_input(inputs, text)
    return RecordingSource(listing, spec, audio, description=text, limit=limit)


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


def _unknown_classes(text: str, found: Sequence[str], model_labels: Sequence[str]) -> Finding:
    strange = next(name for name in found if name not in model_labels)
    known = ", ".join(model_labels[:5]) + (", ..." if len(model_labels) > 5 else "")
    return Finding(
        "data/unknown-classes",
        "warning",
        f"'{strange}' of {text} is none of the model's classes ({known}): the classes of the data "
        "are numbered in sorted order",
        remedy="Call the classes as the model does, or number them.",
    )


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
