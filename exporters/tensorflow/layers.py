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

#: called with the path of a layer and with what it gave
Report = Callable[[str, Any], None]


@contextmanager
def replaced(layer: Any, method: str, replacement: Any) -> Iterator[None]:
    """A method of one object is another for the time of the block; Keras does not notice."""
    kept = vars(layer).get(method)
    object.__setattr__(layer, method, replacement)
    try:
        yield
    finally:
        if kept is None:
            object.__delattr__(layer, method)
        else:
            object.__setattr__(layer, method, kept)


@contextmanager
def watching(
    layers: Sequence[Any], enter: Callable[[str], None], leave: Report, *, root: Any = None
) -> Iterator[None]:
    """Report each call of each layer: `enter` before it, `leave` after it with its result.

    `root` is the model around them all, whose path is empty.
    """
    around: list[str] = []
    calls: Counter[str] = Counter()

    def watched(layer: Any) -> Callable[..., Any]:
        original = layer.call
        name = [] if layer is root else [str(layer.name)]

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            path = "/".join([*around, *name])
            calls[path] += 1
            told = path if calls[path] == 1 else f"{path}_{calls[path] - 1}"
            around.extend(name)
            enter(told)
            try:
                result = original(*args, **kwargs)
            finally:
                del around[len(around) - len(name) :]
            leave(told, result)
            return result

        return call

    with ExitStack() as restore:
        for layer in layers:
            restore.enter_context(replaced(layer, "call", watched(layer)))
        yield
