"""What a Hugging Face model can be exported for, and how its configuration says so.

| task | class of transformers | inputs | output |
|---|---|---|---|
| image-classification | AutoModelForImageClassification | pixel_values | logits |
| image-feature-extraction | AutoModel | pixel_values | last_hidden_state |
| text-classification | AutoModelForSequenceClassification | those of the tokenizer | logits |
| token-classification | AutoModelForTokenClassification | those of the tokenizer | logits |
| feature-extraction | AutoModel | those of the tokenizer | embedding, or last_hidden_state |
| audio-classification | AutoModelForAudioClassification | input_values or input_features | logits |
| text-generation | AutoModelForCausalLM | see `decoder` | logits and caches |

A configuration names the class that its weights are of (`architectures`); the tables of
transformers' own auto classes say what that class is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.extras import import_extra

Modality = Literal["image", "text", "audio", "decoder"]
#: what the models are called in messages about missing libraries
NEEDED_FOR = "Hugging Face models"


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the table above; `mapping` names the table of transformers with its classes."""

    name: str
    modality: Modality
    auto_class: str
    mapping: str
    #: of the model's answer, which becomes the output of that name
    output: str = "logits"
    has_classes: bool = True


TASKS = {
    task.name: task
    for task in (
        Task(
            "image-classification",
            "image",
            "AutoModelForImageClassification",
            "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
        ),
        Task(
            "audio-classification",
            "audio",
            "AutoModelForAudioClassification",
            "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
        ),
        Task(
            "text-classification",
            "text",
            "AutoModelForSequenceClassification",
            "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        ),
        Task(
            "token-classification",
            "text",
            "AutoModelForTokenClassification",
            "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
        ),
        Task(
            "text-generation",
            "decoder",
            "AutoModelForCausalLM",
            "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
            has_classes=False,
        ),
        Task(
            "image-feature-extraction",
            "image",
            "AutoModel",
            "MODEL_FOR_IMAGE_MAPPING_NAMES",
            "last_hidden_state",
            False,
        ),
        Task(
            "feature-extraction",
            "text",
            "AutoModel",
            "MODEL_MAPPING_NAMES",
            "last_hidden_state",
            False,
        ),
    )
}
_TEXT_INPUT = "input_ids"


def choose_task(asked: str | None, config: Any, where: str) -> Task:
    """The task of that name, else the one that the configuration's class is for.

    Raises:
        UsageError: there is no such task.
        ModelError: nothing says what the model is for, or no task takes it.
    """
    if asked is not None:
        if asked not in TASKS:
            raise UsageError(
                f"unknown task '{asked}'", where=where, remedy=f"Choose one of {', '.join(TASKS)}."
            )
        return TASKS[asked]
    names = list(getattr(config, "architectures", None) or ())
    for task in TASKS.values():
        if any(name in _classes(task) for name in names):
            return task
    why = "its configuration names no class" if not names else f"no task takes {names[0]}"
    raise ModelError(
        "it is not known how to export the model",
        where=where,
        why=why,
        remedy=f"Name the task with --task: {', '.join(TASKS)}.",
    )


def _classes(task: Task) -> frozenset[str]:
    tables = import_extra("transformers.models.auto.modeling_auto", needed_for=NEEDED_FOR)
    return frozenset(_flat(getattr(tables, task.mapping).values())) - _of_other_inputs(task)


def _of_other_inputs(task: Task) -> frozenset[str]:
    """Base models of pictures and sounds stand in the table of base models, too."""
    if task.name != "feature-extraction":
        return frozenset()
    tables = import_extra("transformers.models.auto.modeling_auto", needed_for=NEEDED_FOR)
    texts = set(tables.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES)
    texts |= set(tables.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    texts |= set(tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    texts |= set(tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    others = {key: name for key, name in tables.MODEL_MAPPING_NAMES.items() if key not in texts}
    return frozenset(_flat(others.values()))


def _flat(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        else:
            yield from value
