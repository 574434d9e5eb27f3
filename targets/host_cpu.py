"""The processor of this machine, as far as it changes what a runtime computes here."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

_ARM64 = frozenset({"aarch64", "arm64"})
_X86 = frozenset({"amd64", "i386", "i686", "x86_64"})
#: Linux names of the two extensions that multiply 8-bit integers into 32-bit sums
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


@dataclass(frozen=True, slots=True)
class HostCpu:
    """`arch` as `platform.machine()` gives it; `flags` is None where the system tells none."""

    arch: str
    flags: frozenset[str] | None

    @property
    def is_arm64(self) -> bool:
        return self.arch.lower() in _ARM64

    @property
    def saturates(self) -> bool | None:
        """Whether int8 products are summed in saturating 16 bits; None where that is unknown."""
        if self.arch.lower() not in _X86:
            return False
        return None if self.flags is None else not (self.flags & _VNNI)


def read_host_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> HostCpu:
    """This machine's processor; flags are read from Linux' `/proc/cpuinfo` only."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return HostCpu(platform.machine(), None)
    return HostCpu(platform.machine(), _flags(text))


def _flags(cpuinfo: str) -> frozenset[str] | None:
    for line in cpuinfo.splitlines():
        key, separator, value = line.partition(":")
        if separator and key.strip() in ("flags", "Features"):  # x86 and ARM spell it differently
            return frozenset(value.split())
    return None
