"""`/proc/cpuinfo` of emulated cores, for a QEMU that does not show one.

The parts are those of Arm's technical reference manuals (register MIDR_EL1); the features are
those that the emulated core itself tells in its auxiliary vector (`getauxval`), in the names of
Linux (`Documentation/arch/arm64/elf_hwcaps.rst`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from edgewise.targets.validation.devices.bundle.tools import run_tool

#: core -> implementer, variant, part, revision
_PARTS = {
    "cortex-a53": (0x41, 0x0, 0xD03, 4),
    "cortex-a55": (0x41, 0x2, 0xD05, 0),
    "cortex-a72": (0x41, 0x0, 0xD08, 3),
    "cortex-a76": (0x41, 0x4, 0xD0B, 1),
    "neoverse-n1": (0x41, 0x4, 0xD0C, 1),
    "neoverse-v1": (0x41, 0x1, 0xD40, 2),
    "max": (0x00, 0x0, 0x051, 0),
}
_FEATURES = (
    "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp",
    "asimdhp", "cpuid", "asimdrdm", "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4",
    "asimddp", "sha512", "sve", "asimdfhm", "dit", "uscat", "ilrcpc", "flagm", "ssbs", "sb",
    "paca", "pacg",
)  # fmt: skip
_MORE_FEATURES = (
    "dcpodp", "sve2", "sveaes", "svepmull", "svebitperm", "svesha3", "svesm4", "flagm2",
    "frint", "svei8mm", "svef32mm", "svef64mm", "svebf16", "i8mm", "bf16", "dgh", "rng",
    "bti", "mte", "ecv", "afp", "rpres",
)  # fmt: skip
_CAPABILITIES = (
    "import ctypes; f = ctypes.CDLL(None).getauxval; f.restype = ctypes.c_ulong; "
    "f.argtypes = [ctypes.c_ulong]; print(f(16), f(26))"  # AT_HWCAP, AT_HWCAP2
)


def write_cpuinfo(
    prefix: Path, cpus: Sequence[str], python_on: Callable[[str], Sequence[str]]
) -> None:
    """One folder per core below `prefix`, each with `proc/cpuinfo`.

    `python_on` gives the command of the bundle's Python on a core. Raises ToolFailed.
    """
    for cpu in cpus:
        said = run_tool([*python_on(cpu), "-c", _CAPABILITIES]).split()
        path = prefix / cpu / "proc" / "cpuinfo"
        path.parent.mkdir(parents=True)
        path.write_text(_cpuinfo(cpu, int(said[0]), int(said[1])), encoding="utf-8")


def _cpuinfo(cpu: str, capabilities: int, more: int) -> str:
    implementer, variant, part, revision = _PARTS[cpu]
    named = (*_names_of(_FEATURES, capabilities), *_names_of(_MORE_FEATURES, more))
    core = (
        "BogoMIPS\t: 100.00\n"
        f"Features\t: {' '.join(named)}\n"
        f"CPU implementer\t: 0x{implementer:02x}\n"
        "CPU architecture: 8\n"
        f"CPU variant\t: 0x{variant:x}\n"
        f"CPU part\t: 0x{part:03x}\n"
        f"CPU revision\t: {revision}\n\n"
    )
    return "".join(f"processor\t: {index}\n{core}" for index in range(os.cpu_count() or 1))


def _names_of(names: Sequence[str], bits: int) -> list[str]:
    return [name for index, name in enumerate(names) if bits >> index & 1]
