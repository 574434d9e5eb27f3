"""GRU layers of Keras 3 in the spelling that tf2onnx knows.

tf2onnx recognizes the loop of an LSTM or a GRU of TensorFlow 2 and writes it as one ONNX operator.
Keras 3 spells the GRU in another way: its cell slices the hidden state's projection and unpacks the
bias within the loop. While such a layer is traced, its cell computes the same with the bias
unpacked before the loop and one split, and ONNX gets a GRU instead of a Loop:

    z, r, n = split(x W + b), split(h U + c)      h' = s(z) h + (1 - s(z)) tanh(n_x + s(r) n_h)

(Cho et al. 2014, in the form of cuDNN: `reset_after`.) Other GRUs stay loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from edgewise.exporters.tensorflow.layers import replaced


@contextmanager
def known_spelling(layers: Sequence[Any]) -> Iterator[None]:
    """Let the GRU layers among these be traced so, and restore them afterwards."""
    with ExitStack() as restore:
        for layer in layers:
            if _is_plain_gru(layer):
                restore.enter_context(replaced(layer, "inner_loop", _inner_loop(layer)))
        yield


def _is_plain_gru(layer: Any) -> bool:
    if type(layer).__name__ != "GRU" or not type(layer).__module__.startswith("keras."):
        return False
    cell = layer.cell
    return bool(
        cell.reset_after
        and cell.use_bias
        and cell.activation.__name__ == "tanh"
        and cell.recurrent_activation.__name__ == "sigmoid"
    )


def _inner_loop(layer: Any) -> Any:
    import tensorflow as tf

    original, cell = layer.inner_loop, layer.cell

    def inner_loop(sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        kernel, recurrent = (tf.identity(cell.kernel), tf.identity(cell.recurrent_kernel))
        bias, recurrent_bias = tf.unstack(tf.convert_to_tensor(cell.bias))

        def call(inputs: Any, states: Any, training: bool = False) -> Any:
            before = states[0] if isinstance(states, list | tuple) else states
            from_input = tf.nn.bias_add(tf.matmul(inputs, kernel), bias)
            from_state = tf.nn.bias_add(tf.matmul(before, recurrent), recurrent_bias)
            input_update, input_reset, input_new = tf.split(from_input, 3, axis=1)
            update, reset, new = tf.split(from_state, 3, axis=1)
            update, reset = tf.sigmoid(input_update + update), tf.sigmoid(input_reset + reset)
            candidate = tf.tanh(input_new + reset * new)
            after = update * before + (1 - update) * candidate
            return after, [after] if isinstance(states, list | tuple) else after

        with replaced(cell, "call", call):
            return original(sequences, initial_state, mask=mask, training=training)

    return inner_loop
