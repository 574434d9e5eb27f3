"""One pass over the data gives the exact extremes of every activation."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import collect_statistics, observed_tensors
from edgewise.errors import DataError, ModelError, UsageError
from edgewise.graph import OrtSession, to_bytes


def all_activations(model, feeds):
    """Every observed tensor, from a session of its own."""
    import onnx_ir as ir

    copy = ir.from_proto(ir.to_proto(model))
    present = {value.name for value in copy.graph.outputs}
    names = [name for name in observed_tensors(model) if name not in feeds]
    for node in copy.graph:
        for value in node.outputs:
            if value.name in names and value.name not in present:
                copy.graph.outputs.append(value)
    return {**feeds, **OrtSession(copy, optimize="all").run(feeds, names)}


def test_extremes_and_histograms_are_those_of_all_samples_together(model, source_of):
    source = source_of(model, 5)
    found = collect_statistics(model, source)
    values = [all_activations(model, sample.feeds) for sample in source]
    assert found.samples == 5
    assert tuple(found.tensors) == observed_tensors(model)
    padded = {node.outputs[0].name for node in model.graph if node.op_type == "Pad"}
    for name, tensor in found.tensors.items():
        if name in padded:  # see test_calibration_padding
            continue
        whole = np.concatenate([value[name].ravel() for value in values])
        assert (tensor.minimum, tensor.maximum) == (whole.min(), whole.max())
        assert tensor.count == whole.size
        wanted, _ = np.histogram(whole.astype(np.float64), bins=tensor.histogram.edges())
        assert np.array_equal(tensor.histogram.counts, wanted), name


def test_only_float_activations_are_observed(net):
    n = net()
    x = n.input("x", 1, 4)
    shape = n.op("Shape", x, name="shape")
    weights = n.const(np.ones(4, np.float32))
    y = n.op("Reshape", n.op("Add", x, weights, name="sum"), shape, name="y")
    model = n.model(y)
    assert set(observed_tensors(model)) == {"x", "sum", "y"}


def test_shards_add_up_to_the_whole(models, source_of, source, tmp_path):
    model = models["branches"]()
    samples = source_of(model, 6).samples
    whole = collect_statistics(model, source(samples))
    parts = [collect_statistics(model, source(samples[i : i + 2])) for i in (4, 0, 2)]
    merged = parts[0] + parts[1] + parts[2]
    for name, tensor in whole.tensors.items():
        other = merged.tensors[name]
        assert (tensor.minimum, tensor.maximum) == (other.minimum, other.maximum)
        assert np.array_equal(tensor.histogram.counts, other.histogram.counts)


def test_threads_change_nothing(models, source_of):
    model = models["mobile"]()
    one, two = (collect_statistics(model, source_of(model), threads=n) for n in (1, 2))
    for name, tensor in one.tensors.items():
        other = two.tensors[name]
        assert np.allclose((tensor.minimum, tensor.maximum), (other.minimum, other.maximum))


def test_a_limit_takes_the_first_samples_and_is_part_of_the_data_hash(models, source_of, source):
    model = models["branches"]()
    data = source_of(model, 4)
    limited = collect_statistics(model, data, limit=2)
    first = collect_statistics(model, source(data.samples[:2]))
    assert limited.samples == 2
    assert limited.tensors["image"].maximum == first.tensors["image"].maximum
    assert limited.data_hash != collect_statistics(model, data).data_hash == data.fingerprint
    assert collect_statistics(model, data, limit=9).data_hash == data.fingerprint


def test_the_model_is_not_changed(model, source_of):
    before = to_bytes(model)
    collect_statistics(model, source_of(model))
    assert to_bytes(model) == before


def test_progress_advances_once_per_sample(models, source_of):
    seen = []

    class Listener:
        def track(self, items, label, total=None):
            seen.append((label, total))
            yield from items

        def step(self, label):
            raise AssertionError(label)

    model = models["branches"]()
    collect_statistics(model, source_of(model, 3), progress=Listener(), limit=2)
    assert seen == [("calibrating", 2)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_value_in_the_data_names_the_sample(models, source_of, bad):
    model = models["branches"]()
    data = source_of(model, 3)
    data.samples[1]["image"][0, 2, 3, 1] = bad
    with pytest.raises(DataError, match=r"sample 1: input 'image' holds NaN or infinity"):
        collect_statistics(model, data)


def test_a_bad_value_that_the_model_makes_names_tensor_and_sample(net, source):
    n = net()
    model = n.model(n.op("Exp", n.op("Log", n.input("x", 1, 2), name="log"), name="y"))
    data = source([{"x": np.float32([[1, 2]])}, {"x": np.float32([[1, -2]])}])
    with pytest.raises(ModelError, match=r"sample 1: .*NaN or infinity in tensor 'log'"):
        collect_statistics(model, data)


def test_no_samples_is_a_data_error(models, source):
    with pytest.raises(DataError, match="test data: there are no calibration samples"):
        collect_statistics(models["branches"](), source([]))


def test_a_missing_input_is_a_data_error(models, source):
    data = source([{"picture": np.zeros((1, 4, 8, 8), np.float32)}])
    with pytest.raises(DataError, match="sample 0: the sample has no array for input 'image'"):
        collect_statistics(models["branches"](), data)


def test_wrong_arguments_are_refused(models, source_of):
    model = models["branches"]()
    with pytest.raises(UsageError, match="at least 1, not 0"):
        collect_statistics(model, source_of(model), limit=0)
    with pytest.raises(UsageError, match="no float activation 'nothing'"):
        collect_statistics(model, source_of(model), tensors=["image", "nothing"])
