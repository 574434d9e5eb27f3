"""What the host's processor means for figures that stand for an ARM device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewise.targets.arm.host import host_findings
from edgewise.targets.host_cpu import HostCpu, read_host_cpu

VNNI = frozenset({"avx2", "avx512_vnni"})


def rules(host: HostCpu, *, quantized: bool = True) -> list[str]:
    return [finding.rule for finding in host_findings(host, quantized=quantized)]


@pytest.mark.parametrize("arch", ["aarch64", "arm64"])
def test_nothing_to_say_on_arm(arch: str) -> None:
    assert rules(HostCpu(arch, frozenset())) == []


@pytest.mark.parametrize("flags", [VNNI, frozenset({"avx_vnni"})])
def test_x86_with_vnni(flags: frozenset[str]) -> None:
    assert rules(HostCpu("x86_64", flags)) == ["arm/measured-on-x86"]


def test_x86_without_vnni_saturates() -> None:
    findings = host_findings(HostCpu("x86_64", frozenset({"avx2"})), quantized=True)
    assert [f.rule for f in findings] == ["arm/measured-on-x86", "arm/saturating-host"]
    assert "22 %" in findings[1].message
    assert "has no VNNI" in findings[1].message


def test_x86_of_unknown_flags_may_saturate() -> None:
    (_, finding) = host_findings(HostCpu("AMD64", None), quantized=True)
    assert "may have no VNNI" in finding.message


def test_float_files_do_not_saturate() -> None:
    assert rules(HostCpu("x86_64", frozenset()), quantized=False) == ["arm/measured-on-x86"]


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor : 0\nflags\t\t: avx2 avx512_vnni\nflags : other\n", {"avx2", "avx512_vnni"}),
        ("processor : 0\nFeatures\t: fp asimd asimddp\n", {"fp", "asimd", "asimddp"}),
        ("processor : 0\n", None),
    ],
)  # fmt: skip
def test_reads_cpuinfo(text: str, flags: set[str] | None, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert read_host_cpu(cpuinfo).flags == flags


def test_without_cpuinfo(tmp_path: Path) -> None:
    host = read_host_cpu(tmp_path / "absent")
    assert host.flags is None
    assert host.arch
