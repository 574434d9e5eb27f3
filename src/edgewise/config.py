"""What a project file (`edgewise.toml`) may hold: one frozen model per table.

Every key carries the text of what it allows, so that an error can say it in the user's terms, and
a description that reaches the JSON Schema for editors (`docs/edgewise.schema.json`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr

from edgewise.calibration.repairs import REPAIRS
from edgewise.calibration.scheme import PRECISION_ALIASES, Precision
from edgewise.targets import TARGETS

#: what a target's own option may hold; the target itself knows which
OptionValue = bool | int | float | str | list[str] | dict[str, str]

PRECISIONS = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a key may hold, as the end of the sentence "allowed: ..."."""

    text: str


def _precision(value: str) -> str:
    name = PRECISION_ALIASES.get(value, value)
    if name not in PRECISIONS:
        raise ValueError("unknown precision")
    return name


def _target(value: str) -> str:
    if value not in TARGETS:
        raise ValueError("unknown target")
    return value


def _repair(value: str) -> str:
    if value not in REPAIRS:
        raise ValueError("unknown repair")
    return value


def _no_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("named twice")
    return values


_PRECISION_TEXT = ", ".join((*PRECISIONS, *PRECISION_ALIASES))
PrecisionName = Annotated[
    str,
    AfterValidator(_precision),
    Field(json_schema_extra={"enum": [*PRECISIONS, *PRECISION_ALIASES]}),
]
TargetName = Annotated[str, AfterValidator(_target)]
RepairName = Annotated[
    str, AfterValidator(_repair), Field(json_schema_extra={"enum": list(REPAIRS)})
]
DeviceText = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=1)]
Pair = Annotated[tuple[Size, Size], Field(strict=False)]
#: a size, or the name of one that stays free
Dimension = Size | Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
_PER_CHANNEL = Field(strict=False, min_length=1, max_length=3)
_SIZE_TEXT = "a whole number of at least 1"
_PIXELS_TEXT = "a whole number of at least 1, or [height, width]"


class Table(BaseModel):
    """A TOML table: no unknown keys, no guessed conversions, never changed once read."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


class ModelTable(Table):
    """[model]"""

    source: Annotated[
        str,
        Field(
            min_length=1,
            description="Model file or folder, or package.module:factory of a model object; "
            "relative to this file.",
        ),
        Allowed("a path, or package.module:factory"),
    ]
    name: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the artifacts."),
        Allowed("letters, digits, '.', '_' and '-', starting with a letter or digit"),
    ] = None
    description: Annotated[
        str, Field(description="What the model does; the files say it."), Allowed("a text")
    ] = ""
    version: Annotated[
        str,
        Field(description="Version of the model, as in 1.2; the files say it."),
        Allowed("a text"),
    ] = ""
    author: Annotated[
        str, Field(description="Who made the model; the files say it."), Allowed("a text")
    ] = ""
    license: Annotated[
        str,
        Field(description="License of the model, as in Apache-2.0; the files say it."),
        Allowed("a text"),
    ] = ""
    input_shapes: Annotated[
        dict[str, Annotated[tuple[Dimension, ...], Field(strict=False)]],
        Field(
            description="Shape per input, as in x = [1, 3, 224, 224]; a name in the place of a "
            'number, as in ["batch", 3, 224, 224], keeps that dimension free.'
        ),
        Allowed(
            "a list of whole numbers of at least 1, or names of free dimensions, for each input, "
            'such as ["batch", 3, 224, 224]'
        ),
    ] = {}
    weights: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Weights (a state dict: .pt, .pth, .safetensors, ...) for the PyTorch "
            "module that the source makes; relative to this file.",
        ),
        Allowed("the path of a file"),
    ] = None
    signature: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Which signature of a SavedModel or TFLite file; serving_default without.",
        ),
        Allowed("the name of a signature"),
    ] = None
    task: Annotated[
        str | None,
        Field(
            min_length=1,
            description="What a Hugging Face model is for, such as image-classification; its "
            "configuration says without.",
        ),
        Allowed("the name of a task"),
    ] = None
    exporter: Annotated[
        Literal["auto", "dynamo", "torchscript"],
        Field(description="Exporter of PyTorch; auto: dynamo, and torchscript where that fails."),
        Allowed("auto, dynamo, torchscript"),
    ] = "auto"
    allow_code: Annotated[
        bool,
        Field(
            description="Load files that hold code (pickles, Lambda layers). Whoever made such a "
            "file can run anything on this machine."
        ),
        Allowed("true, false"),
    ] = False


class ImageTable(Table):
    """[data.image]: how a picture becomes an input, in this order."""

    resize: Annotated[
        Size | Pair | None,
        Field(description="Pixels of the shorter side, or [height, width]."),
        Allowed(_PIXELS_TEXT),
    ] = None
    crop: Annotated[
        Size | Pair | None,
        Field(description="Pixels of the centre crop: one side for a square, or [height, width]."),
        Allowed(_PIXELS_TEXT),
    ] = None
    color: Annotated[
        Literal["rgb", "bgr", "gray"],
        Field(description="Channel order."),
        Allowed("rgb, bgr, gray"),
    ] = "rgb"
    mean: Annotated[
        float | Annotated[tuple[float, ...], _PER_CHANNEL],
        Field(description="Subtracted, on the 0..255 scale: one number, or one per channel."),
        Allowed("a number, or a list with one number per channel"),
    ] = 0.0
    std: Annotated[
        Positive | Annotated[tuple[Positive, ...], _PER_CHANNEL],
        Field(description="Divided by, on the 0..255 scale: one number, or one per channel."),
        Allowed("a number above 0, or a list with one such number per channel"),
    ] = 1.0
    layout: Annotated[
        Literal["auto", "nchw", "nhwc"],
        Field(description="Layout that the model's input wants; auto reads it from the shape."),
        Allowed("auto, nchw, nhwc"),
    ] = "auto"
    resample: Annotated[
        Literal["bilinear", "bicubic", "lanczos", "nearest"],
        Field(description="How pixels are computed when a picture is resized."),
        Allowed("bilinear, bicubic, lanczos, nearest"),
    ] = "bilinear"


Column = Size | Annotated[str, Field(min_length=1)]


class TextTable(Table):
    """[data.text]: where the texts of a table are; numbers count columns from 1, without header."""

    columns: Annotated[
        Column
        | Annotated[tuple[Column, ...], Field(strict=False, min_length=1, max_length=2)]
        | None,
        Field(
            description="Column of the text, or of both texts of a pair: names, or numbers from 1 "
            "in a file without a header; usual names are found without it."
        ),
        Allowed('a name, or a list of one or two such as ["question", "answer"] or [1, 2]'),
    ] = None
    label: Annotated[
        Column | None,
        Field(description="Column of the class or score."),
        Allowed("a name, or a number from 1"),
    ] = None
    max_length: Annotated[
        int | None,
        Field(ge=1, description="Most tokens of a text; at most those of the model's input."),
        Allowed(_SIZE_TEXT),
    ] = None


_DATA_TEXT = (
    "a path (folder of images or recordings, labels .csv, .npz, texts .csv .tsv .jsonl .txt), or "
    "package.module:function"
)


class DataTable(Table):
    """[data]"""

    calibration: Annotated[
        str | None,
        Field(min_length=1, description="Data for calibration; labels are not needed."),
        Allowed(_DATA_TEXT),
    ] = None
    evaluation: Annotated[
        str | None,
        Field(min_length=1, description="Labelled data for accuracy."),
        Allowed(_DATA_TEXT),
    ] = None
    metric: Annotated[
        str | None,
        Field(min_length=1, description="Metric such as top1, or package.module:function."),
        Allowed("the name of a metric, or package.module:function"),
    ] = None
    limit: Annotated[
        int | None,
        Field(ge=1, description="Use at most this many samples of each source."),
        Allowed(_SIZE_TEXT),
    ] = None
    labels: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Text file with the names of the classes, one a line; else the class "
            "folders of the data.",
        ),
        Allowed("the path of a text file"),
    ] = None
    image: Annotated[
        ImageTable | None,
        Field(
            description="How a picture becomes an input; what is not given is as the model's "
            "source tells."
        ),
        Allowed("a table"),
    ] = None
    text: Annotated[
        TextTable | None,
        Field(description="Where the texts are, for a model that comes with a tokenizer."),
        Allowed("a table"),
    ] = None


class CalibrationTable(Table):
    """[calibration]"""

    method: Annotated[
        Literal["minmax", "moving_average", "percentile", "entropy", "mse"],
        Field(description="How ranges are chosen from the statistics."),
        Allowed("minmax, moving_average, percentile, entropy, mse"),
    ] = "minmax"
    percentile: Annotated[
        float,
        Field(gt=50, le=100, description="Share of values kept, in percent (method percentile)."),
        Allowed("a number above 50 and up to 100"),
    ] = 99.99
    weights: Annotated[
        Literal["minmax", "mse"],
        Field(description="How scales of weights are chosen."),
        Allowed("minmax, mse"),
    ] = "minmax"
    repairs: Annotated[
        tuple[RepairName, ...],
        AfterValidator(_no_repeats),
        Field(
            strict=False,
            description="What is done to the float model before it is quantized, in this order.",
        ),
        Allowed(f"a list of {', '.join(REPAIRS)}, each at most once"),
    ] = ()


class SearchTable(Table):
    """[search]: where it is present, the recipe of each quantized target is searched for."""

    max_minutes: Annotated[
        float,
        Field(
            gt=0,
            description="Minutes for all targets together, in which a recipe that keeps the "
            "accuracy budget is looked for; no new trial begins later.",
        ),
        Allowed("a number above 0"),
    ] = 10.0


class TargetTable(Table):
    """[targets.<name>]: the precision, and options that the target itself knows and checks."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, OptionValue] = Field(init=False)

    precision: Annotated[
        PrecisionName,
        Field(description="Number formats of weights (w) and activations (a)."),
        Allowed(_PRECISION_TEXT),
    ] = "w8a8"
    devices: Annotated[
        Annotated[tuple[DeviceText, ...], Field(strict=False, min_length=1)] | None,
        Field(
            description="Where the artifact is validated, as in local, emulated:cortex-a53, "
            "ssh://user@host, adb:SERIAL, or a name from `edgewise devices`; local without it."
        ),
        Allowed('a list of devices, such as ["local", "emulated:cortex-a53"]'),
    ] = None

    @property
    def options(self) -> dict[str, OptionValue]:
        return dict(self.__pydantic_extra__)


#: what editors are told of a target's own options; the targets themselves check them
_TARGET_OPTIONS: dict[str, dict[str, Any]] = {
    "android": {
        "io": {
            "enum": ["int8", "uint8", "int16", "float"],
            "description": "What quantized inputs and outputs hold.",
        },
        "layout": {
            "enum": ["NHWC", "NCHW"],
            "description": "Order of four-dimensional inputs and outputs.",
        },
        "batch": {
            "anyOf": [{"type": "integer", "minimum": 1}, {"const": "dynamic"}],
            "description": "Size of a symbolic first dimension.",
        },
        "fold_preprocessing": {
            "type": "boolean",
            "description": "Take uint8 pixels, and normalize them as [data.image] says.",
        },
        "delegates": {
            "type": "array",
            "items": {"enum": ["xnnpack", "gpu", "qualcomm", "mediatek", "google_tensor"]},
            "description": "Who runs the file, and whom findings tell of; default xnnpack, gpu.",
        },
        "plugin": {
            "type": "string",
            "description": "vendor:chip whose LiteRT plug-in compiles the file, too.",
        },
    },
    "apple": {
        "compute": {
            "enum": ["fp16", "fp32"],
            "description": "Type of what a quantized package computes in floating point.",
        },
        "block_size": {
            "type": "integer",
            "minimum": 0,
            "multipleOf": 8,
            "description": "Of w4: weights that share a scale; 0: those of an output channel.",
        },
        "group_size": {
            "type": "integer",
            "minimum": 0,
            "description": "Of palettes: output channels that share a table; 0: all of them.",
        },
        "deployment_target": {
            "type": "string",
            "description": "Oldest system that must run the package, as in iOS17 or macOS14.",
        },
        "fold_preprocessing": {
            "type": "boolean",
            "description": "Take pictures, and normalize them as [data.image] says.",
        },
        "classifier": {
            "anyOf": [{"type": "boolean"}, {"type": "string", "minLength": 1}],
            "description": "Give a label and values by label; or the output that has them.",
        },
        "shapes": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Inputs of several sizes: 1,3,224,224; 1,3,320,320 or 1,3,128..512,256.",
        },
        "states": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Inputs kept from run to run, each with the output that follows it.",
        },
    },
    "arm": {
        "format": {
            "enum": ["s8s8", "u8s8", "u8u8"],
            "description": "Of w8a8: types of activations and weights, s for signed.",
        },
        "block_size": {
            "enum": [0, 16, 32, 64, 128, 256],
            "description": "Of w4: weights that share a scale; 0: those of an output channel.",
        },
        "accuracy_level": {
            "enum": [0, 4],
            "description": "Of weights in blocks: 4 for integers where a core can, 0 for float.",
        },
        "compute": {
            "enum": ["fp16", "fp32"],
            "description": "Of fp16: convolutions in float16 on cores that can, or float32 always.",
        },
        "batch": {
            "type": "integer",
            "minimum": 1,
            "description": "Size of a symbolic first dimension, which stays symbolic without.",
        },
        "shapes": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Sizes of inputs, as in image = 1,3,224,224, or of a free dimension.",
        },
        "ort_format": {
            "type": "boolean",
            "description": "Write ONNX Runtime's own format, and the operators a build needs.",
        },
    },
}
_ABOVE_ZERO_TEXT = "a number above 0"


class BudgetLimits(Table):
    """Limits that decide the exit code of a build."""

    accuracy_drop: Annotated[
        float | None,
        Field(ge=0, description="Most that the metric may get worse than fp32, in its unit."),
        Allowed("a number of at least 0, such as 0.01 for one point"),
    ] = None
    min_accuracy: Annotated[
        float | None,
        Field(description="Least metric of the artifact, in its unit."),
        Allowed("a number, such as 0.9"),
    ] = None
    max_latency_ms: Annotated[
        float | None,
        Field(gt=0, description="Most milliseconds per inference, median."),
        Allowed(_ABOVE_ZERO_TEXT),
    ] = None
    min_speedup: Annotated[
        float | None,
        Field(gt=0, description="Least speed-up over the same target's fp32 artifact."),
        Allowed(_ABOVE_ZERO_TEXT),
    ] = None
    max_size_mb: Annotated[
        float | None,
        Field(gt=0, description="Most megabytes (10^6 bytes) on disk."),
        Allowed(_ABOVE_ZERO_TEXT),
    ] = None
    max_instructions: Annotated[
        float | None,
        Field(gt=0, description="Most ARM64 instructions per inference on an emulated core."),
        Allowed(_ABOVE_ZERO_TEXT),
    ] = None
    max_instructions_rise: Annotated[
        float | None,
        Field(
            ge=0,
            description="Most that instructions may rise above those of the baseline, as a share; "
            "0.005 without it.",
        ),
        Allowed("a number of at least 0, such as 0.01 for one percent"),
    ] = None

    def over(self, general: BudgetLimits) -> BudgetLimits:
        """These limits, with `general` where one is not given."""
        return BudgetLimits(
            **{
                key: getattr(general, key) if getattr(self, key) is None else getattr(self, key)
                for key in BudgetLimits.model_fields
            }
        )


class BudgetTable(BudgetLimits):
    """[budget] for all targets, [budget.<target>] for one."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, BudgetLimits] = Field(init=False)

    def for_target(self, target: str) -> BudgetLimits:
        return self.__pydantic_extra__.get(target, BudgetLimits()).over(self)


class OutputTable(Table):
    """[output]"""

    dir: Annotated[
        str,
        Field(min_length=1, description="Folder that receives the result."),
        Allowed("a path"),
    ] = "dist"


class LatencyTable(Table):
    """[latency]"""

    threads: Annotated[
        int | None,
        Field(
            ge=1,
            description="Threads while latency is measured; without it, those of the named device, "
            "else 1.",
        ),
        Allowed(_SIZE_TEXT),
    ] = None
    profile: Annotated[
        bool,
        Field(description="Time the parts of each artifact, too, beside those of its fp32 file."),
        Allowed("true, false"),
    ] = False
    instructions: Annotated[
        bool,
        Field(description="Count the instructions of an inference on emulated devices."),
        Allowed("true, false"),
    ] = False
    baseline: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Earlier report.json whose instruction counts must not be exceeded.",
        ),
        Allowed("the path of a report.json"),
    ] = None


class Project(Table):
    """A whole project: what to build, from what, for which targets, within which budgets."""

    model: Annotated[ModelTable, Allowed("a table with at least 'source'")]
    data: Annotated[DataTable, Allowed("a table")] = DataTable()
    calibration: Annotated[CalibrationTable, Allowed("a table")] = CalibrationTable()
    search: Annotated[
        SearchTable | None,
        Field(description="Look for the fastest quantization that keeps the accuracy budget."),
        Allowed("a table"),
    ] = None
    targets: Annotated[
        dict[TargetName, TargetTable],
        Field(
            description="One table per target; all targets when there is none.",
            json_schema_extra={"propertyNames": {"enum": list(TARGETS)}},
        ),
        Allowed(f"tables named {', '.join(TARGETS)}"),
    ] = {}
    budget: Annotated[BudgetTable, Allowed("a table of limits")] = BudgetTable()
    output: Annotated[OutputTable, Allowed("a table")] = OutputTable()
    latency: Annotated[LatencyTable, Allowed("a table")] = LatencyTable()

    #: folder of the project file, where modules are looked for beside the working directory
    _folder: Path = PrivateAttr(default=Path())

    def at(self, folder: Path) -> Project:
        """This project, read from a file in `folder`."""
        placed = self.model_copy()
        placed._folder = folder
        return placed

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def target_tables(self) -> dict[str, TargetTable]:
        """The targets to build, in the order of the target table."""
        chosen = self.targets or {name: TargetTable() for name in TARGETS}
        return {name: chosen[name] for name in TARGETS if name in chosen}

    @property
    def out_dir(self) -> Path:
        return Path(self.output.dir)


def project_schema() -> dict[str, Any]:
    """The JSON Schema of `edgewise.toml`, for editors."""
    schema = Project.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "edgewise.toml"
    schema["properties"]["targets"]["properties"] = {
        name: {"$ref": "#/$defs/TargetTable", "properties": options}
        for name, options in _TARGET_OPTIONS.items()
    }
    return schema
