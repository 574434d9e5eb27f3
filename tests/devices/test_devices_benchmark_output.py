"""What `benchmark_model` prints, read into figures.

The texts have the exact form of the tool's sources (LiteRT `tflite/tools/benchmark`,
`core/util/stats_calculator.h`) and of published runs: TI's SDK documentation for AM62x (2025,
percentiles), Synaptics' for SL1680 (TensorFlow 2.15, NNAPI), a GPU run of MobileNetV3 (2020), and
an x86 run with XNNPACK's operators (2024).
"""

from __future__ import annotations

import pytest

from edgewise.targets.validation.devices.benchmark_output import Applied, read_output
from edgewise.targets.validation.results import DelegateOperator

_XNNPACK_2025 = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [model.tflite]
INFO: Use xnnpack: [1]
INFO: Loaded model model.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: XNNPACK delegate created.
INFO: Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the \
delegate w/ 1 delegate kernels.
INFO: The input model file size (MB): 67.3128
INFO: Initialized session in 614.333ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
INFO: count=1 curr=905463 p5=905463 median=905463 p95=905463

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=50 first=900416 curr=898333 min=898007 max=906121 avg=899641 std=1549 p5=898333 \
median=899281 p95=904305

INFO: Inference timings in us: Init: 614333, First inference: 905463, Warmup (avg): 905463, \
Inference (avg): 899641
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only \
APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your \
discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=146.363 overall=150.141
"""
_GPU_2020 = """\
STARTING!
Duplicate flags: num_threads
Graph: [/data/local/tmp/mnv3_seg_float.tflite]
Use gpu : [1]
Loaded model /data/local/tmp/mnv3_seg_float.tflite
Applied GPU delegate, and the model graph will be completely executed w/ the delegate.
The input model file size (MB): 3.79893
Initialized session in 1451.51ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding \
150 seconds.
count=56 first=11147 curr=8146 min=7055 max=12036 avg=8779.68 std=1115

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding \
150 seconds.
count=110 first=8325 curr=10016 min=7863 max=10688 avg=8680.33 std=591

Inference timings in us: Init: 1451507, First inference: 11147, Warmup (avg): 8779.68, Inference \
(avg): 8680.33
Peak memory footprint (MB): init=63.4883 overall=63.4883
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\
\t[times called]\t[Name]
\t ModifyGraphWithDelegate\t            0.000\t 1450.744\t 1450.744\t 99.998%\t 99.998%\t 62364.000\
\t        1\tModifyGraphWithDelegate/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\
\t[times called]\t[Name]
\t     TfLiteGpuDelegateV2\t            0.000\t    8.317\t    8.671\t100.000%\t100.000%\t     0.000\
\t        1\t[Identity]:77

============================== Top by Computation Time ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\
\t[times called]\t[Name]
\t     TfLiteGpuDelegateV2\t            0.000\t    8.317\t    8.671\t100.000%\t100.000%\t     0.000\
\t        1\t[Identity]:77

Number of nodes executed: 1
"""
_NNAPI_2023 = """\
INFO: Created TensorFlow Lite delegate for NNAPI.
INFO: NNAPI delegate created.
WARNING: NNAPI SL driver did not implement SL_ANeuralNetworksDiagnostic_registerCallbacks!
VERBOSE: Replacing 31 out of 31 node(s) with delegate (TfLiteNnapiDelegate) node, yielding 1 \
partitions for the whole graph.
INFO: Explicitly applied NNAPI delegate, and the model graph will be completely executed by the \
delegate.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
INFO: count=1 curr=637079

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=520 first=2531 curr=2793 min=1171 max=9925 avg=1885.74 std=870

INFO: Inference timings in us: Init: 66002, First inference: 637079, Warmup (avg): 637079, \
Inference (avg): 1885.74
INFO: Memory footprint delta from the start of the tool (MB): init=7.40234 overall=7.83203
"""
_OPERATORS_2024 = """\
INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
                                     [node type]          [first]        [avg ms]            [%]  \
        [cdf%]          [mem KB]        [times called]  [Name]
                                        QUANTIZE            0.199           0.203         1.328%  \
        1.328%             0.000                1       [tfl.quantize]:0
                  Convolution (NHWC, QC8) DWConv            0.428           0.051         4.317%  \
        8.304%             0.000               13       Delegate/Convolution (NHWC, QC8) DWConv:1

============================== Top by Computation Time ==============================
"""


def test_a_run_of_today_is_read() -> None:
    found = read_output(_XNNPACK_2025)
    assert found.applied == (Applied("XNNPACK", "partially", 1),)
    assert found.runs["count"] == 50  # not the warm-up's
    assert (found.runs["min"], found.runs["max"]) == (898007, 906121)
    assert [found.runs[key] for key in ("p5", "median", "p95")] == [898333, 899281, 904305]
    assert (found.init, found.first) == (614333, 905463)
    assert (found.warmup, found.average) == (905463, 899641)
    assert found.memory_mb == 150.141
    assert found.operators == ()


def test_a_run_without_percentiles_is_read() -> None:
    found = read_output(_NNAPI_2023)
    assert found.applied == (Applied("NNAPI", "completely", 1),)
    assert found.runs["count"] == 520
    assert "median" not in found.runs
    assert found.average == 1885.74


def test_the_first_releases_are_read_with_their_operators() -> None:
    found = read_output(_GPU_2020)
    assert found.applied == (Applied("GPU", "completely", 1),)
    assert found.memory_mb == 63.4883
    assert found.operators == (  # of the runs, not of the initialization, and only once
        DelegateOperator("TfLiteGpuDelegateV2", "[Identity]:77", 8.671, 1.0, 1),
    )


def test_operators_with_blanks_in_their_names_count_all_their_calls() -> None:
    (first, second) = read_output(_OPERATORS_2024).operators
    assert first == DelegateOperator("QUANTIZE", "[tfl.quantize]:0", 0.203, 0.01328, 1)
    assert second.kind == "Convolution (NHWC, QC8) DWConv"
    assert second.name == "Delegate/Convolution (NHWC, QC8) DWConv:1"
    assert second.ms == pytest.approx(13 * 0.051)
    assert (second.share, second.times_called) == (0.04317, 13)


def test_a_delegate_that_runs_nothing_is_told() -> None:
    found = read_output(
        "INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed "
        "by the delegate.\n"
    )
    assert found.applied == (Applied("NNAPI", "not", 0),)


def test_errors_are_kept() -> None:
    found = read_output(
        "INFO: Created TensorFlow Lite delegate for GPU.\n"
        "ERROR: Following operations are not supported by GPU delegate:\n"
        "ERROR: Failed to apply GPU delegate.\nERROR: Benchmarking failed.\n"
    )
    assert found.errors[1] == "Failed to apply GPU delegate."
    assert found.average is None and found.runs == {}


def test_large_numbers_are_told_by_their_exponent() -> None:
    found = read_output(
        "Inference timings in us: Init: 25558, First inference: 9992420, Warmup (avg): "
        "9.99242e+06, Inference (avg): 1.00001e+07\n"
    )
    assert (found.warmup, found.average) == (9992420, 10000100)


@pytest.mark.parametrize("statistic", ["count=3 curr=7(all same)", "count=1 curr=7"])
def test_equal_times_have_a_median(statistic: str) -> None:
    phase = "Running benchmark for at least 1 iterations\n"
    found = read_output(f"{phase}count=1 curr=99\n{phase}{statistic}\n")
    assert (found.runs["median"], found.runs["min"], found.runs["avg"]) == (7, 7, 7)
