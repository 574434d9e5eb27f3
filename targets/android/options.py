"""[targets.android]: what a user may ask of the file beyond its precision.

`io`      what inputs and outputs hold that the model quantizes: `int8` (the model's own numbers),
          `uint8` (the same with every zero point 128 higher) or `float`. Float precisions have
          float ends only, and integer ones of 16 bits `int16` in place of the two of 8 bits.
`layout`  order of four-dimensional inputs and outputs: `NHWC`, or `NCHW` as in ONNX.
`batch`   size of a symbolic first dimension: a number (1 without the key) or `dynamic`.
`delegates`  who will run the file, and so who the findings tell of: `xnnpack` (the CPU), `gpu`,
          `qualcomm`, `mediatek`, `google_tensor`; the first two without the key. For the last
          three, NPUs, int8 operators stay that the CPU would run faster as tables.
`plugin`  `vendor:chip`: whose LiteRT plug-in compiles the finished file, to tell what it takes.
          Such a file is for an NPU, too.
`fold_preprocessing`  take uint8 pictures and normalize them inside the graph.
`block_size`     of w4: how many weights share a scale, 32 (or a multiple), or 0 for one scale per
                 output channel.
`float32_below`  of fp16: constants of fewer elements stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgewise.calibration.scheme import Scheme
from edgewise.errors import UsageError
from edgewise.targets.android.delegates.plugin import Plugin
from edgewise.targets.android.half import MIN_ELEMENTS
from edgewise.targets.android.ops.hybrid import BLOCK_UNIT
from edgewise.targets.preconditions import check_options

KNOWN_OPTIONS = (
    "batch", "block_size", "delegates", "float32_below", "fold_preprocessing", "io", "layout",
    "plugin",
)  # fmt: skip
DEFAULT_BLOCK_SIZE = 32
DYNAMIC: Literal["dynamic"] = "dynamic"

_WHERE = "[targets.android]"
#: per stored dtype of the scheme's activations (None: a float scheme), the natural choice first
_IO_CHOICES = {
    None: ("float",),
    "int8": ("int8", "uint8", "float"),
    "int16": ("int16", "float"),
}
_LAYOUTS = ("NHWC", "NCHW")
XNNPACK = "xnnpack"
NPUS = ("qualcomm", "mediatek", "google_tensor")
DELEGATES = (XNNPACK, "gpu", *NPUS)
DEFAULT_DELEGATES = (XNNPACK, "gpu")


@dataclass(frozen=True, slots=True)
class AndroidOptions:
    """The options as checked values."""

    io: str
    layout: str = "NHWC"
    batch: int | Literal["dynamic"] = 1
    fold_preprocessing: bool = False
    delegates: tuple[str, ...] = DEFAULT_DELEGATES
    plugin: str | None = None
    #: None for the precisions that have no use for them
    block_size: int | None = None
    float32_below: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any], scheme: Scheme) -> AndroidOptions:
        """Raises UsageError for an unknown key, or for a value that a key does not allow."""
        check_options("android", given, KNOWN_OPTIONS)
        return cls(
            io=_io(given, scheme),
            layout=_one_of("layout", given.get("layout", _LAYOUTS[0]), _LAYOUTS),
            batch=_batch(given.get("batch", 1)),
            fold_preprocessing=_flag("fold_preprocessing", given.get("fold_preprocessing", False)),
            delegates=_delegates(given.get("delegates", DEFAULT_DELEGATES)),
            plugin=_plugin(given.get("plugin")),
            block_size=_only_for("w4", "block_size", given, scheme, block_size),
            float32_below=_only_for("fp16", "float32_below", given, scheme, _float32_below),
        )

    def as_dict(self) -> dict[str, Any]:
        """Those that the precision has, as JSON holds them."""
        told = asdict(self) | {"delegates": list(self.delegates)}
        return {key: value for key, value in told.items() if value is not None}

    @property
    def is_for_npu(self) -> bool:
        return self.plugin is not None or any(name in NPUS for name in self.delegates)


def block_size(given: Mapping[str, Any]) -> int:
    """Raises UsageError for anything but 0 and multiples of 32."""
    size = given.get("block_size", DEFAULT_BLOCK_SIZE)
    if _is_whole(size) and size >= 0 and size % BLOCK_UNIT == 0:
        return int(size)
    raise _refuse("block_size", size, "0, or a multiple of 32")


def _float32_below(given: Mapping[str, Any]) -> int:
    count = given.get("float32_below", MIN_ELEMENTS)
    if _is_whole(count) and count >= 0:
        return int(count)
    raise _refuse("float32_below", count, "a whole number of at least 0")


def _only_for(
    precision: str,
    key: str,
    given: Mapping[str, Any],
    scheme: Scheme,
    read: Callable[[Mapping[str, Any]], int],
) -> int | None:
    if scheme.precision == precision:
        return read(given)
    if key in given:
        raise UsageError(
            f"option '{key}' has no meaning in precision {scheme.precision}",
            where=_WHERE,
            remedy=f"Leave it out, or choose precision {precision}.",
        )
    return None


def _io(given: Mapping[str, Any], scheme: Scheme) -> str:
    choices = _IO_CHOICES[None if scheme.activation is None else scheme.activation.dtype]
    io = given.get("io", choices[0])
    if io not in choices and any(io in others for others in _IO_CHOICES.values()):
        raise UsageError(
            f"io = '{io}' contradicts precision {scheme.precision}",
            where=_WHERE,
            why=f"its inputs and outputs can be {' or '.join(choices)}",
            remedy="Leave it out, or choose another precision.",
        )
    return _one_of("io", io, choices)


def _one_of(key: str, value: object, choices: tuple[str, ...]) -> str:
    if value in choices:
        return str(value)
    raise _refuse(key, value, ", ".join(choices))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _batch(value: Any) -> int | Literal["dynamic"]:
    if value == DYNAMIC:
        return DYNAMIC
    if _is_whole(value) and value >= 1:
        return int(value)
    raise _refuse("batch", value, f"a whole number of at least 1, or '{DYNAMIC}'")


def _delegates(value: object) -> tuple[str, ...]:
    """In the order of `DELEGATES`, however they were given."""
    if isinstance(value, list | tuple) and all(name in DELEGATES for name in value):
        return tuple(name for name in DELEGATES if name in value)
    raise _refuse("delegates", value, f"a list of {', '.join(DELEGATES)}")


def _plugin(value: object) -> str | None:
    if value is None:
        return None
    Plugin.of(str(value))
    return str(value)


def _flag(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _refuse(key, value, "true, false")


def _refuse(key: str, value: object, allowed: str) -> UsageError:
    return UsageError(f"option '{key}' is {value!r}", where=_WHERE, remedy=f"Allowed: {allowed}.")
