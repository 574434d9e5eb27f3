"""Watching the layers of a Keras model while it runs.

Each layer's `call` is replaced, on the object and for the time of a `with` block, by one that tells
what it gave. This serves twice: run on arrays it gives every layer's result in the order they are
made, and while TensorFlow traces it tells which scope of the graph belongs to which layer. Keras
opens a scope twice per layer, so that graphs have `conv_1/Relu` for a layer `conv`, where `conv_1`
may be another layer's name.

The path of a layer is its name behind those of the models around it, without the outermost; a layer
that is called again has the count behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

#: called with the path of a layer before it runs (None), and with what it gave
Report = Callable[[str, Any], None]


@contextmanager
def watching(layers: Sequence[Any], enter: Callable[[str], None], leave: Report) -> Iterator[None]:
    """Report each call of each layer: `enter` before it, `leave` after it with its result."""
    around: list[str] = []
    calls: Counter[str] = Counter()
    with ExitStack() as restore:
        for layer in layers:
            restore.callback(_watch(layer, around, calls, enter, leave))
        yield


def _watch(
    layer: Any,
    around: list[str],
    calls: Counter[str],
    enter: Callable[[str], None],
    leave: Report,
) -> Callable[[], None]:
    original, own = layer.call, "call" in vars(layer)

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        path = "/".join([*around, str(layer.name)])
        calls[path] += 1
        told = path if calls[path] == 1 else f"{path}_{calls[path] - 1}"
        around.append(str(layer.name))
        enter(told)
        try:
            result = original(*args, **kwargs)
        finally:
            around.pop()
        leave(told, result)
        return result

    object.__setattr__(layer, "call", call)

    def restore() -> None:
        if own:
            object.__setattr__(layer, "call", original)
        else:
            object.__delattr__(layer, "call")

    return restore
