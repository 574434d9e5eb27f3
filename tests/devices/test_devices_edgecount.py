"""The plugin: classes of instructions, and exact counts of programs whose words are known."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgewise.targets.validation.devices.bundle.installation import Counter, Installation
from edgewise.targets.validation.devices.counter.device import NOT_INSTALLED
from edgewise.targets.validation.devices.counter.program import (
    BEGIN,
    END,
    EXIT,
    NOP,
    SVC,
    program,
)

MOV_X9_5 = 0xD28000A9
SUBS_X9_1 = 0xF1000529
LDR_Q0 = 0x3DC003E0
FADD = 0x4E23D463
SDOT, SMMLA = 0x4E809401, 0x4E80A402
ADD_SVE, LDR_SVE, SDOT_SVE, SMMLA_SVE = 0x04A40084, 0x858043E5, 0x44800006, 0x45009807
#: one of each encoding that counts as a dot product
DOTS = (
    0x4E809401,  # sdot v1.4s, v0.16b, v0.16b
    0x6E809401,  # udot
    0x4F80E001,  # sdot by element
    0x6F80E001,  # udot by element
    0x4E809C01,  # usdot
    0x4F80F001,  # usdot by element
    0x4F00F001,  # sudot by element
    0x6E40FC01,  # bfdot
    0x4F40F001,  # bfdot by element
    0x44800001,  # sdot z1.s, z0.b, z0.b
    0x44C00001,  # sdot z1.d, z0.h, z0.h
    0x44A00001,  # sdot indexed
    0x44A00401,  # udot indexed
    0x44E00001,  # sdot z1.d indexed
    0x44807801,  # usdot
    0x44A01801,  # usdot indexed
    0x44A01C01,  # sudot indexed
    0x64608001,  # bfdot
    0x64604001,  # bfdot indexed
)
MATRIX_PRODUCTS = (
    0x4E80A401,  # smmla v1.4s, v0.16b, v0.16b
    0x6E80A401,  # ummla
    0x4E80AC01,  # usmmla
    0x6E40EC01,  # bfmmla
    0x45009801,  # smmla z1.s, z0.b, z0.b
    0x45C09801,  # ummla
    0x45809801,  # usmmla
    0x6460E401,  # bfmmla
    0x64A0E401,  # fmmla z1.s
)
#: what ends a region: mov x0, #-7701; svc
MARK = {"integer": 1, "other": 1}


@pytest.fixture(scope="module")
def counter(emulator: Installation) -> Counter:
    if emulator.counter is None:
        pytest.skip(NOT_INSTALLED)
    return emulator.counter


def loop_of(body: Sequence[int], times_register_set: int = MOV_X9_5) -> list[int]:
    """`body` five times: mov, body, subs, b.ne back to the body."""
    back = -(len(body) + 1) & 0x7FFFF
    return [times_register_set, *body, SUBS_X9_1, 0x54000001 | back << 5]


def counted(counter: Counter, words: Sequence[int], folder: Path) -> list[dict[str, int]]:
    """The regions of a program, by class; classes of which there are none are left out."""
    path = folder / "program"
    path.write_bytes(program([*words, *EXIT]))
    path.chmod(0o755)
    plugin = f"{counter.plugin},fd=1"
    command = [str(counter.qemu), "-plugin", plugin, "-cpu", "max", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    records = [json.loads(line) for line in run.stdout.splitlines()]
    return [{name: count for name, count in record.items() if count} for record in records]


def test_a_loop_is_counted_exactly(counter: Counter, tmp_path: Path) -> None:
    body = [LDR_Q0, SDOT, SMMLA, FADD, ADD_SVE, LDR_SVE, SDOT_SVE, SMMLA_SVE, NOP]
    (region,) = counted(counter, [*BEGIN, *loop_of(body), *END], tmp_path)
    assert region == {
        "load_store": 10,
        "simd": 5,
        "dot": 10,
        "mmla": 10,
        "sve": 5,
        "branch": 5,
        "integer": 1 + 5 + MARK["integer"],
        "other": 5 + MARK["other"],
    }


def test_every_dot_and_matrix_product_has_its_class(counter: Counter, tmp_path: Path) -> None:
    words = [*BEGIN, *DOTS, *END, *BEGIN, *MATRIX_PRODUCTS, *END]
    dots, products = counted(counter, words, tmp_path)
    assert dots == {"dot": len(DOTS), **MARK}
    assert products == {"mmla": len(MATRIX_PRODUCTS), **MARK}


def test_what_is_outside_of_marks_is_not_counted(counter: Counter, tmp_path: Path) -> None:
    words = [FADD, *BEGIN, *END, *[FADD] * 100, *BEGIN, FADD, *END]
    assert counted(counter, words, tmp_path) == [MARK, {"simd": 1, **MARK}]


def test_closing_other_files_is_no_mark(counter: Counter, tmp_path: Path) -> None:
    close_nothing = [0x92800000 | 99 << 5, SVC]  # mov x0, #-100; svc
    assert counted(counter, [*BEGIN, *close_nothing, *END], tmp_path) == [
        {"integer": 2, "other": 2}
    ]


def test_a_long_block_is_counted_as_the_blocks_it_is_made_of(
    counter: Counter, tmp_path: Path
) -> None:
    """QEMU cuts what has no branch after some hundred instructions, and at pages."""
    (region,) = counted(counter, [*BEGIN, *[SDOT] * 5000, *END], tmp_path)
    assert region == {"dot": 5000, **MARK}


def test_the_plugin_refuses_what_is_no_file_descriptor(counter: Counter, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(program(EXIT))
    path.chmod(0o755)
    command = [str(counter.qemu), "-plugin", f"{counter.plugin},file=x", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert "edgecount: wants fd=N" in run.stderr
