"""What each layer of a module gives, while it runs: to find the first that the export changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgewise.exporters.opened import Array, LayerRunner
from edgewise.exporters.pytorch.naming import call_name
from edgewise.exporters.pytorch.running import Module, import_torch


def layer_runner(module: Module, run: Callable[[Mapping[str, Array]], Any]) -> LayerRunner:
    """Runs `run`, which calls the module, and tells the results of the modules inside.

    Per result the module's name in `named_modules` (`layer1.0.bn1`; from the second call of a
    module on `layer1.0.relu@1`) and the array, in the order in which they are made: a block after
    its layers. Only modules that give one tensor are told. `naming` gives the same names to the
    values of the ONNX model: a value of that name, where there is one, is that result.
    """

    def layers(feeds: Mapping[str, Array]) -> Iterable[tuple[str, Array]]:
        torch = import_torch()
        found: list[tuple[str, Array]] = []
        calls: Counter[str] = Counter()

        def hook(name: str) -> Callable[[Any, Any, Any], None]:
            def note(_module: Any, _arguments: Any, result: Any) -> None:
                index = calls[name]
                calls[name] += 1
                if isinstance(result, torch.Tensor):
                    array = result.detach().cpu().numpy().copy()  # a later layer may write into it
                    found.append((call_name(name, index), array))

            return note

        handles = [
            child.register_forward_hook(hook(name))
            for name, child in module.named_modules()
            if name
        ]
        try:
            run(feeds)
        finally:
            for handle in handles:
                handle.remove()
        return found

    return layers
