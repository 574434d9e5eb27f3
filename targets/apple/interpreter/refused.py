"""Operations of MIL that are not executed on purpose, and why."""

from __future__ import annotations

_RANDOM = "its result is another at each run, so that nothing can be compared with it"

#: MIL operation -> why
REFUSED = {
    "conv_quantized": "it belongs to neural networks, and its numbers are not documented for ML"
    " Programs, which have constexpr operations",
    "random_bernoulli": _RANDOM,
    "random_categorical": _RANDOM,
    "random_normal": _RANDOM,
    "random_uniform": _RANDOM,
}
