"""The user land of a phone: Debian's builds of what Android has, for ARM64.

adbd, toybox and mksh are Android's daemon, tools and shell. `getprop` and `dumpsys` are stand-ins:
scripts that answer as a phone would.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from distribution_packages import download_packages

from edgewise.targets.validation.devices.bundle.packages import (
    release_names,
    unpack,
)

_PACKAGES = ("adbd", "mksh", "toybox")
#: of toybox's commands, those that phones have, too
_TOOLS = """cat chmod cp cut date dd df dirname du echo env expr false find grep gunzip gzip head id
kill ln ls mkdir mktemp mv nice od printf ps pwd readlink realpath rm rmdir sed sha256sum sleep sort
stat sync tail tar tee test timeout touch tr true uname wc xargs zcat""".split()  # noqa: SIM905
_GETPROP = """#!/bin/sh
case "$1" in
  ro.product.cpu.abi) echo arm64-v8a;;
  ro.product.cpu.abilist) echo arm64-v8a,armeabi-v7a,armeabi;;
  ro.product.manufacturer) echo Acme;;
  ro.product.model) echo Phone 7;;
  ro.build.version.release) echo 14;;
  ro.build.version.sdk) echo 34;;
esac
"""
_DUMPSYS = """#!/bin/sh
case "$*" in
  *battery) printf '%s\\n' 'Current Battery Service state:' '  AC powered: false' \\
    '  USB powered: true' '  level: 81' '  scale: 100' '  temperature: 314';;
  *thermalservice) printf '%s\\n' 'IsStatusOverride: false' 'Thermal Status: 1';;
esac
"""
_USERS = "root:x:0:0:root:/:/system/bin/sh\n"


def phone_system(folder: Path) -> Path:
    """The root of the system, made once in a folder. Raises DeviceError without packages."""
    root = folder / "system-1"
    if not root.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            packages, part = Path(made) / "packages", Path(made) / "root"
            suite = f"{release_names()[0]}-backports"
            for package in download_packages(
                _PACKAGES, "arm64", packages, suite=suite, dependencies=True
            ):
                unpack(package, part)
            _make_android(part)
            part.rename(root)
    return root


def _make_android(root: Path) -> None:
    """Programs in /system/bin, and the folders that adbd and mounts need."""
    tools = root / "system" / "bin"
    for folder in (tools, *(root / name for name in ("data/local/tmp", "dev", "own", "proc"))):
        folder.mkdir(parents=True)
    (root / "sys").mkdir()
    for name in ("mksh", "toybox"):
        (root / "bin" / name).rename(tools / name)
    shutil.rmtree(root / "bin")
    shutil.rmtree(root / "usr" / "share")
    (root / "bin").symlink_to("system/bin")
    (tools / "sh").symlink_to("mksh")
    for name in _TOOLS:
        (tools / name).symlink_to("toybox")
    for name, text in (("getprop", _GETPROP), ("dumpsys", _DUMPSYS)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "passwd").write_text(_USERS)
