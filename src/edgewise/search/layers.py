"""The layers of a quantized model, in the order in which they should go back to float."""

from __future__ import annotations

from edgewise.calibration import Recipe
from edgewise.calibration.sensitivity import sensitivity
from edgewise.search.evaluator import Evaluator

#: of the time that is left, for what goes before the layers are tried
_SHARE = 0.25


def sensitive_layers(evaluator: Evaluator, recipe: Recipe) -> list[frozenset[str]]:
    """Names of the nodes of each layer, most sensitive first; see `sensitivity`."""
    problem = evaluator.problem
    kept = problem.cache.read("layers", recipe.key)
    if kept is not None:
        return [frozenset(nodes) for nodes in kept["layers"]]
    made = evaluator.make(recipe)
    found = sensitivity(
        made.hub,
        made.quantized.model,
        problem.scheme,
        problem.calibration,
        exclude=recipe.float_nodes,
        threads=problem.threads,
        deadline=problem.until(_SHARE),
    )
    layers = [sorted(layer.nodes) for layer in found.layers if layer.nodes]
    problem.cache.write({"layers": layers}, "layers", recipe.key)
    return [frozenset(nodes) for nodes in layers]
