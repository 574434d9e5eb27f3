"""The layers of a quantized model, in the order in which they should go back to float."""

from __future__ import annotations

from edgewise.calibration import Recipe
from edgewise.calibration.gates import with_gates
from edgewise.graph import OrtSession
from edgewise.search.evaluator import Evaluator
from edgewise.targets.validation.agreement import Agreement

#: examples for each of the many evaluations
_EXAMPLES = 4


def sensitive_layers(evaluator: Evaluator, recipe: Recipe) -> list[frozenset[str]]:
    """Names of the nodes of each layer, most sensitive first."""
    made = evaluator.make(recipe)
    gated = with_gates(made.hub, made.quantized.model, evaluator.problem.scheme, recipe.float_nodes)
    session = OrtSession(gated.model, threads=evaluator.problem.threads)
    examples = evaluator.examples()[:_EXAMPLES]
    ranks: dict[str, float] = {}
    for layer in gated.layers:
        agreement = Agreement()
        gates = gated.feeds([layer.name])
        for sample, expected in examples:
            agreement.observe(expected, session.run({**sample.feeds, **gates}))
        ranks[layer.name] = agreement.sqnr_db if agreement.sqnr_db is not None else 999.0
    ordered = sorted(gated.layers, key=lambda layer: ranks[layer.name])
    return [frozenset(layer.nodes) for layer in ordered]
