"""Names of processor cores by the implementer and part in their main ID register (MIDR_EL1).

Numbers and names are those of util-linux (`sys-utils/lscpu-arm.c`) and Linux
(`arch/arm64/include/asm/cputype.h`); cores of 64 bits that run Linux or Android, no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

_QEMU = 0x00  # "reserved for software use"
_ARM, _BROADCOM, _CAVIUM, _FUJITSU, _HISILICON = 0x41, 0x42, 0x43, 0x46, 0x48
_NVIDIA, _QUALCOMM, _SAMSUNG, _APPLE, _AMPERE = 0x4E, 0x51, 0x53, 0x61, 0xC0
_MAKERS = {
    _ARM: "ARM",
    _BROADCOM: "Broadcom",
    _CAVIUM: "Cavium",
    _FUJITSU: "Fujitsu",
    _HISILICON: "HiSilicon",
    _NVIDIA: "NVIDIA",
    _QUALCOMM: "Qualcomm",
    _SAMSUNG: "Samsung",
    _APPLE: "Apple",
    _AMPERE: "Ampere",
}
_NAMES = {
    (_QEMU, 0x051): "QEMU's max",
    (_ARM, 0xD02): "Cortex-A34",
    (_ARM, 0xD03): "Cortex-A53",
    (_ARM, 0xD04): "Cortex-A35",
    (_ARM, 0xD05): "Cortex-A55",
    (_ARM, 0xD06): "Cortex-A65",
    (_ARM, 0xD07): "Cortex-A57",
    (_ARM, 0xD08): "Cortex-A72",
    (_ARM, 0xD09): "Cortex-A73",
    (_ARM, 0xD0A): "Cortex-A75",
    (_ARM, 0xD0B): "Cortex-A76",
    (_ARM, 0xD0C): "Neoverse-N1",
    (_ARM, 0xD0D): "Cortex-A77",
    (_ARM, 0xD0E): "Cortex-A76AE",
    (_ARM, 0xD40): "Neoverse-V1",
    (_ARM, 0xD41): "Cortex-A78",
    (_ARM, 0xD42): "Cortex-A78AE",
    (_ARM, 0xD43): "Cortex-A65AE",
    (_ARM, 0xD44): "Cortex-X1",
    (_ARM, 0xD46): "Cortex-A510",
    (_ARM, 0xD47): "Cortex-A710",
    (_ARM, 0xD48): "Cortex-X2",
    (_ARM, 0xD49): "Neoverse-N2",
    (_ARM, 0xD4A): "Neoverse-E1",
    (_ARM, 0xD4B): "Cortex-A78C",
    (_ARM, 0xD4C): "Cortex-X1C",
    (_ARM, 0xD4D): "Cortex-A715",
    (_ARM, 0xD4E): "Cortex-X3",
    (_ARM, 0xD4F): "Neoverse-V2",
    (_ARM, 0xD80): "Cortex-A520",
    (_ARM, 0xD81): "Cortex-A720",
    (_ARM, 0xD82): "Cortex-X4",
    (_ARM, 0xD83): "Neoverse-V3AE",
    (_ARM, 0xD84): "Neoverse-V3",
    (_ARM, 0xD85): "Cortex-X925",
    (_ARM, 0xD87): "Cortex-A725",
    (_ARM, 0xD88): "Cortex-A520AE",
    (_ARM, 0xD89): "Cortex-A720AE",
    (_ARM, 0xD8A): "C1-Nano",
    (_ARM, 0xD8B): "C1-Pro",
    (_ARM, 0xD8C): "C1-Ultra",
    (_ARM, 0xD8E): "Neoverse-N3",
    (_ARM, 0xD8F): "Cortex-A320",
    (_ARM, 0xD90): "C1-Premium",
    (_BROADCOM, 0x100): "Brahma-B53",
    (_BROADCOM, 0x516): "ThunderX2",
    (_CAVIUM, 0x0A1): "ThunderX",
    (_CAVIUM, 0x0AF): "ThunderX2",
    (_FUJITSU, 0x001): "A64FX",
    (_HISILICON, 0xD01): "TaiShan v110",
    (_NVIDIA, 0x000): "Denver",
    (_NVIDIA, 0x003): "Denver 2",
    (_NVIDIA, 0x004): "Carmel",
    (_QUALCOMM, 0x001): "Oryon",
    (_QUALCOMM, 0x800): "Kryo 2xx Gold (Cortex-A73)",
    (_QUALCOMM, 0x801): "Kryo 2xx Silver (Cortex-A53)",
    (_QUALCOMM, 0x802): "Kryo 3xx Gold (Cortex-A75)",
    (_QUALCOMM, 0x803): "Kryo 3xx Silver (Cortex-A55)",
    (_QUALCOMM, 0x804): "Kryo 4xx Gold (Cortex-A76)",
    (_QUALCOMM, 0x805): "Kryo 4xx Silver (Cortex-A55)",
    (_SAMSUNG, 0x001): "Exynos M1",
    (_SAMSUNG, 0x002): "Exynos M3",
    (_SAMSUNG, 0x003): "Exynos M4",
    (_SAMSUNG, 0x004): "Exynos M5",
    (_APPLE, 0x022): "M1 Icestorm",
    (_APPLE, 0x023): "M1 Firestorm",
    (_APPLE, 0x032): "M2 Blizzard",
    (_APPLE, 0x033): "M2 Avalanche",
    (_AMPERE, 0xAC3): "Ampere-1",
    (_AMPERE, 0xAC4): "Ampere-1a",
}


def core_name(implementer: str, part: str) -> str:
    """The name of a core; its numbers where it has none here. Both as Linux writes them."""
    try:
        maker, number = int(implementer, 16), int(part, 16)
    except ValueError:
        return ""
    known = _NAMES.get((maker, number))
    return known or f"{_MAKERS.get(maker, f'maker {maker:#04x}')} part {number:#05x}"


def cores_named(cpus: Sequence[Sequence[str]]) -> str:
    """All cores of a device: `Cortex-A72`, or `4x Cortex-A55 + 2x Cortex-A76`; empty where the
    system does not tell."""
    named = Counter(core_name(*cpu) for cpu in cpus if core_name(*cpu))
    if len(named) == 1:
        return next(iter(named))
    return " + ".join(f"{count}x {name}" for name, count in named.items())
