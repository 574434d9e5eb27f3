"""How each kind of task is exported: the module around the model, its inputs, its preprocessing.

Sizes that nothing says (`input_shapes`): a batch is 1, a text 128 tokens (fewer where the model or
its sentence-transformers settings end before), a waveform one second, a picture what its processor
makes of it, and a decoder's cache 128 tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewise.data.preprocessing import Preprocessing
from edgewise.data.source import InputSpec
from edgewise.errors import UsageError
from edgewise.exporters.huggingface import processors
from edgewise.exporters.huggingface.place import MODULES, Place, read_json
from edgewise.exporters.huggingface.tasks import Task
from edgewise.exporters.opened import Array, Shapes
from edgewise.findings import Finding

DEFAULT_LENGTH = 128
_SENTENCE_SETTINGS = "sentence_bert_config.json"
_SENTENCE_CONFIG = "config_sentence_transformers.json"


@dataclass(frozen=True, slots=True)
class Subject:
    """A loaded model, and what the user said of it."""

    model: Any
    task: Task
    place: Place | None
    shapes: Shapes
    allow_code: bool
    where: str

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def takes(self) -> frozenset[str]:
        """The inputs that the model knows."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    def processor(self, auto_class: str) -> processors.Loaded:
        return processors.load_processor(self.place, auto_class, allow_code=self.allow_code)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is traced; `example` holds one array for each input, of the sizes that are not free."""

    module: Any
    shapes: Shapes
    example: Mapping[str, Array]
    preprocessing: Preprocessing | None = None
    findings: tuple[Finding, ...] = ()


def recipe_of(subject: Subject) -> Recipe:
    """Raises UsageError for shapes that do not fit, ModelError for parts that are not known."""
    return _RECIPES[subject.task.modality](subject)


def _image(subject: Subject) -> Recipe:
    from edgewise.exporters.huggingface.wrapper import Answer, with_inputs

    loaded = subject.processor("AutoImageProcessor")
    name = str(subject.model.main_input_name)
    shapes = _shapes(subject, {name: (1, *_picture_size(subject.config, loaded.processor))})
    module = with_inputs(Answer, [name])(subject.model, subject.task.output)
    findings = loaded.finding("there is no image processor")
    preprocessing = None
    if loaded.processor is not None:
        spec = InputSpec(name, tuple(shapes[name]), np.dtype(np.float32))
        preprocessing, findings = processors.image_preprocessing(loaded.processor, spec)
    return Recipe(module, shapes, _examples(shapes, np.float32), preprocessing, findings)


def _picture_size(config: Any, processor: Any) -> tuple[int, int, int]:
    """Channels, height and width: of what the processor makes, else of the configuration."""
    settings = {} if processor is None else processor.to_dict()
    size = settings.get("crop_size") if settings.get("do_center_crop") else settings.get("size")
    size = size or {}
    side = size.get("shortest_edge") or getattr(config, "image_size", None) or 224
    height, width = side if isinstance(side, list | tuple) else (side, side)
    channels = int(getattr(config, "num_channels", 3))
    return channels, int(size.get("height") or height), int(size.get("width") or width)


def _text(subject: Subject) -> Recipe:
    from edgewise.exporters.huggingface.sentence import steps_of
    from edgewise.exporters.huggingface.wrapper import Answer, Embedding, with_inputs

    loaded = subject.processor("AutoTokenizer")
    names = processors.text_inputs(loaded.processor, subject.takes)
    settings, findings = _sentence_settings(subject.place)
    steps = steps_of(subject.place) if subject.task.name == "feature-extraction" else []
    length = _length(subject, settings.get("max_seq_length"), loaded.processor)
    given = next((s for n, s in subject.shapes.items() if n in names), (1, length))
    shapes = _shapes(subject, dict.fromkeys(names, given))
    if steps:
        module = with_inputs(Embedding, names)(subject.model, steps)
    else:
        module = with_inputs(Answer, names)(subject.model, subject.task.output)
    preprocessing = None
    findings += loaded.finding("there is no tokenizer")
    if loaded.processor is not None:
        size = shapes[names[0]][1]
        preprocessing, more = processors.text_preprocessing(
            loaded.processor,
            size if isinstance(size, int) else length,
            "together" if subject.task.has_classes else "apart",
            lower=bool(settings.get("do_lower_case")),
        )
        findings += more
    example = _examples(shapes, np.int64)
    if "attention_mask" in example:
        example["attention_mask"] += 1
    return Recipe(module, shapes, example, preprocessing, findings)


def _sentence_settings(place: Place | None) -> tuple[Mapping[str, Any], tuple[Finding, ...]]:
    """What a sentence-transformers folder says of its texts."""
    if place is None or place.file(MODULES) is None:
        return {}, ()
    stored = [place.file(name) for name in (_SENTENCE_SETTINGS, _SENTENCE_CONFIG)]
    settings, config = ({} if path is None else read_json(path) for path in stored)
    findings: tuple[Finding, ...] = ()
    if prompt := config.get("default_prompt_name"):
        message = f"texts are meant to begin with the prompt '{prompt}', which is not added"
        findings = (
            Finding("export/prompt", "warning", message, remedy="Put it before each text."),
        )
    return settings, findings


def _length(subject: Subject, most: int | None, tokenizer: Any) -> int:
    """128 tokens, or what the model, its sentence settings or its tokenizer allow."""
    config = subject.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and str(config.model_type) in _OFFSET_POSITIONS:
        positions -= config.pad_token_id + 1
    ends = [DEFAULT_LENGTH, positions, most, getattr(tokenizer, "model_max_length", None)]
    return min(int(end) for end in ends if end)


#: count their positions from behind the id of padding
_OFFSET_POSITIONS = frozenset(
    {
        "camembert",
        "data2vec-text",
        "longformer",
        "mpnet",
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
    }
)


def _audio(subject: Subject) -> Recipe:
    from edgewise.exporters.huggingface.wrapper import Answer, with_inputs

    loaded = subject.processor("AutoFeatureExtractor")
    name = str(subject.model.main_input_name)
    preprocessing = None
    known: dict[str, tuple[int, ...]] = {}
    if loaded.processor is not None:
        preprocessing = processors.audio_preprocessing(loaded.processor)
        known[name] = preprocessing.shape
    elif name not in subject.shapes:
        raise UsageError(
            f"the shape of input '{name}' is not known",
            where=subject.where,
            why=f"there is no feature extractor: {loaded.why}",
            remedy=f"Give it with --input-shape {name}=1,16000.",
        )
    shapes = _shapes(subject, known)
    if preprocessing is not None and preprocessing.extractor is None:
        spec = InputSpec(name, tuple(shapes[name]), np.dtype(np.float32))
        preprocessing = preprocessing.for_input(spec)
    module = with_inputs(Answer, [name])(subject.model, subject.task.output)
    findings = loaded.finding("there is no feature extractor")
    return Recipe(module, shapes, _examples(shapes, np.float32), preprocessing, findings)


def _decoder(subject: Subject) -> Recipe:
    from edgewise.exporters.huggingface import decoder
    from edgewise.exporters.huggingface.wrapper import with_inputs

    loaded = subject.processor("AutoTokenizer")
    caches = [shape for name, shape in subject.shapes.items() if name.startswith(("key_", "value"))]
    length = caches[0][2] if caches else _length(subject, None, None)
    if not isinstance(length, int):
        raise UsageError(
            "the length of a static cache cannot be free",
            where=subject.where,
            remedy="Give a number, as in --input-shape key_0=1,8,256,64.",
        )
    known = {
        decoder.TOKENS: (1, 1),
        decoder.POSITION: (1,),
        **decoder.cache_shapes(subject.model, length, subject.where),
    }
    shapes = _shapes(subject, known)
    module = with_inputs(decoder.Decoder, list(known))(subject.model, length)
    example = _examples(shapes, np.float32)
    for name in (decoder.TOKENS, decoder.POSITION):
        example[name] = example[name].astype(np.int64)
    findings = loaded.finding("there is no tokenizer")
    preprocessing = None
    if loaded.processor is not None:
        preprocessing, findings = processors.text_preprocessing(
            loaded.processor, length, "together", states=decoder.states_of(list(known))
        )
    return Recipe(module, shapes, example, preprocessing, findings)


def _shapes(subject: Subject, known: Shapes) -> dict[str, tuple[int | str, ...]]:
    """The known shapes with those that the user gives. Raises UsageError for unknown inputs."""
    unknown = sorted(set(subject.shapes) - set(known))
    if unknown and known:
        raise UsageError(
            f"there is no input '{unknown[0]}'",
            where=subject.where,
            why=f"the inputs of {subject.task.name} are {', '.join(known)}",
            remedy="Name the shapes after them.",
        )
    shapes = {name: tuple(subject.shapes.get(name, shape)) for name, shape in known.items()}
    for name, shape in shapes.items():
        if len(shape) != len(known[name]):
            raise UsageError(
                f"input '{name}' has {len(known[name])} dimensions, and {len(shape)} are given",
                where=subject.where,
            )
    return shapes or {name: tuple(shape) for name, shape in subject.shapes.items()}


def _examples(shapes: Shapes, dtype: type[Any]) -> dict[str, Array]:
    """Zeros; a dimension that stays free is 1 if it comes first, else of the default length."""
    return {
        name: np.zeros(
            [
                dim if isinstance(dim, int) else 1 if axis == 0 else DEFAULT_LENGTH
                for axis, dim in enumerate(shape)
            ],
            dtype,
        )
        for name, shape in shapes.items()
    }


_RECIPES: Mapping[str, Callable[[Subject], Recipe]] = {
    "image": _image,
    "text": _text,
    "audio": _audio,
    "decoder": _decoder,
}
