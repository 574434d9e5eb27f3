"""What all targets share: is the artifact still the model, is it accurate, is it fast?"""

from edgewise.targets.validation.baseline import Baseline
from edgewise.targets.validation.budget import Budget, check_budget, judge_together
from edgewise.targets.validation.comparison import EquivalenceLimit
from edgewise.targets.validation.instruction_baseline import InstructionBaseline
from edgewise.targets.validation.latency import LatencyPlan, measure_latency
from edgewise.targets.validation.layers import compare_layers
from edgewise.targets.validation.metrics import METRICS, Metric, get_metric
from edgewise.targets.validation.results import (
    Accuracy,
    BudgetResult,
    DelegateLatency,
    DeviceFacts,
    Equivalence,
    Instructions,
    Latency,
    Layers,
    NoiseFloor,
    Profile,
    ProfilePart,
    TargetResult,
)
from edgewise.targets.validation.validate import validate

__all__ = [
    "METRICS",
    "Accuracy",
    "Baseline",
    "Budget",
    "BudgetResult",
    "DelegateLatency",
    "DeviceFacts",
    "Equivalence",
    "EquivalenceLimit",
    "InstructionBaseline",
    "Instructions",
    "Latency",
    "LatencyPlan",
    "Layers",
    "Metric",
    "NoiseFloor",
    "Profile",
    "ProfilePart",
    "TargetResult",
    "check_budget",
    "compare_layers",
    "get_metric",
    "judge_together",
    "measure_latency",
    "validate",
]
