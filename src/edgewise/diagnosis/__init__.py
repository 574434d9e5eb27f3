"""Why a quantized model differs from its float model: layers and tensors, worst first."""

from edgewise.diagnosis.diagnose import DEFAULT_SAMPLES, DEFAULT_TOP, diagnose
from edgewise.diagnosis.document import Diagnosis, LayerDiagnosis, TensorDiagnosis

__all__ = [
    "DEFAULT_SAMPLES",
    "DEFAULT_TOP",
    "Diagnosis",
    "LayerDiagnosis",
    "TensorDiagnosis",
    "diagnose",
]
