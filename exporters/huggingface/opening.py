"""Hugging Face models to ONNX: from a folder, from the hub, or from memory.

Weights are read by transformers itself: safetensors, or `pytorch_model.bin` with `weights_only`,
which holds no code. A configuration that names Python files of its own (`auto_map`) is refused
unless the user allows code. Weights that the folder lacks are an error, since transformers fills
them with random numbers. The module is traced as any other of PyTorch, with attention spelled out
(`eager`), in float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewise.errors import EdgewiseError, ModelError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.huggingface.connection import NOT_REACHED, refuse_without_connection
from edgewise.exporters.huggingface.place import Place
from edgewise.exporters.huggingface.recipes import Recipe, Subject, recipe_of
from edgewise.exporters.huggingface.tasks import NEEDED_FOR, Task, choose_task
from edgewise.exporters.opened import OpenedModel, SourceOptions
from edgewise.exporters.quiet import quiet
from edgewise.references import describe

CONFIG = "config.json"
#: parts that models of these tasks do not use
_UNUSED = ("pooler.", ".pooler.")


def open_folder(path: Path, options: SourceOptions) -> OpenedModel:
    """Read a folder with `config.json` and weights.

    Raises:
        UsageError: transformers is missing, an option does not fit, or a task is unknown.
        ModelError: a file is missing or wrong, the folder wants to run code, or no task takes it.
    """
    return _open(Place(str(path), True), options)


def open_hub(name: str, options: SourceOptions) -> OpenedModel:
    """The same for a name such as `org/name`, which transformers downloads or has in its cache."""
    _transformers()
    refuse_without_connection(name)
    return _open(Place(name, False), options)


def open_object(model: object, options: SourceOptions, where: str) -> OpenedModel:
    """Take a `PreTrainedModel` in memory; what lies beside it is read from where it was loaded."""
    transformers = _transformers()
    if not isinstance(model, transformers.PreTrainedModel):
        raise ModelError(
            "is no model of transformers", where=where, why=f"found {type(model).__name__}"
        )
    folder = str(getattr(model, "name_or_path", "") or "")
    place = Place(folder, True) if folder and (Path(folder) / CONFIG).is_file() else None
    architecture = type(model).__name__
    task = choose_task(options.task, _Named((architecture,)), where)
    return _exported(model, task, place, options, where)


def _transformers() -> Any:
    """The library; it can be imported without torch, but holds no models then."""
    import_extra("torch", needed_for=NEEDED_FOR)
    return import_extra("transformers", needed_for=NEEDED_FOR)


class _Named:
    """A configuration that names the class of a model in memory."""

    def __init__(self, architectures: Sequence[str]) -> None:
        self.architectures = architectures


def _open(place: Place, options: SourceOptions) -> OpenedModel:
    transformers = _transformers()
    if place.is_folder and not options.allow_code:
        _refuse_code(place)
    with _as_model_error(place):
        config = transformers.AutoConfig.from_pretrained(
            place.name, trust_remote_code=options.allow_code, **place.arguments
        )
    task = choose_task(options.task, config, place.name)
    place.require_weights()
    model = _load(transformers, task, config, place, options)
    return _exported(model, task, place, options, place.name)


def _refuse_code(place: Place) -> None:
    for name in (CONFIG, "tokenizer_config.json", "preprocessor_config.json"):
        file = place.file(name)
        try:
            stored = {} if file is None else json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # transformers says what is wrong with it
        if isinstance(stored, dict) and stored.get("auto_map"):
            raise ModelError(
                "this model brings code of its own",
                where=str(file),
                why="auto_map names Python files, which loading it would run",
                remedy="Give --allow-code if you trust whoever made it: the code can do anything "
                "on this machine.",
            )


def _load(transformers: Any, task: Task, config: Any, place: Place, options: SourceOptions) -> Any:
    import torch

    with _as_model_error(place):
        model, info = getattr(transformers, task.auto_class).from_pretrained(
            place.name,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            trust_remote_code=options.allow_code,
            output_loading_info=True,
            **place.arguments,
        )
    missing = [key for key in sorted(info["missing_keys"]) if not _is_unused(key)]
    if missing:
        raise ModelError(
            f"{len(missing)} weights of {type(model).__name__} are missing",
            where=place.name,
            why=f"the first is '{missing[0]}'",
            remedy=f"The model may be for another task than {task.name}: choose it with --task.",
        )
    return model.eval()


def _is_unused(key: str) -> bool:
    return key.startswith(_UNUSED[0]) or _UNUSED[1] in key


@contextmanager
def _as_model_error(place: Place) -> Iterator[None]:
    """What transformers raises, which is of many types and lines, as one line."""
    try:
        with quiet():
            yield
    except EdgewiseError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            "cannot load the model",
            where=place.name,
            why=lines[0] if lines else describe(error),
            remedy="Save or download the folder again." if place.is_folder else NOT_REACHED,
        ) from error


def _exported(
    model: Any, task: Task, place: Place | None, options: SourceOptions, where: str
) -> OpenedModel:
    from edgewise.exporters.pytorch import open_module

    subject = Subject(model, task, place, options.input_shapes, options.allow_code, where)
    with quiet(), _attention_spelled_out(model):
        recipe = recipe_of(subject)
        traced = SourceOptions(
            input_shapes=recipe.shapes,
            example=recipe.example,
            exporter=options.exporter,
            base=options.base,
        )
        opened = open_module(recipe.module, traced, where)
    return _told(opened, recipe, _labels(model.config) if task.has_classes else ())


def _told(opened: OpenedModel, recipe: Recipe, labels: tuple[str, ...]) -> OpenedModel:
    return replace(
        opened,
        kind="transformers",
        exporter=f"transformers {_transformers().__version__}, {opened.exporter}",
        findings=(*recipe.findings, *opened.findings),
        preprocessing=recipe.preprocessing,
        labels=labels,
    )


@contextmanager
def _attention_spelled_out(model: Any) -> Iterator[None]:
    """Attention as matrix products and softmax, which all targets know, and then as it was."""
    before = getattr(model.config, "_attn_implementation", None)
    if before in (None, "eager"):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _labels(config: Any) -> tuple[str, ...]:
    """Names of the classes; none where they are only numbered."""
    names = dict(getattr(config, "id2label", None) or {})
    labels = tuple(str(names[key]) for key in sorted(names, key=int))
    numbered = all(label == f"LABEL_{index}" for index, label in enumerate(labels))
    return () if numbered else labels
