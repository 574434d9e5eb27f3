"""A trained network as coremltools converts it from PyTorch, in a process of its own.

python benchmarks/apple_peers/coremltools_peer.py OUT.mlpackage
"""

from __future__ import annotations

import sys
import warnings

warnings.simplefilter("ignore")

import coremltools as ct  # noqa: E402  # after its chatter is off
import torch  # noqa: E402

from edgewise.sample_models.efficientnet_lite0 import model  # noqa: E402


def main() -> None:
    network = model().eval()
    example = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        program = torch.export.export(network, (example,)).run_decompositions({})
    converted = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )
    converted.save(sys.argv[1])


if __name__ == "__main__":
    main()
