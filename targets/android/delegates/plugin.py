"""The compiler of an NPU, asked through the LiteRT plug-in of its vendor.

`ai-edge-litert` carries a plug-in per vendor and the tool that applies one (`apply_plugin_main`);
what compiles is the vendor's SDK, which the user installs. So this is asked for by name, and says
clearly what is missing where the SDK is not there:

    [targets.android]
    plugin = "qualcomm:SM8750"      # vendor:chip, and for Intel vendor:chip:device

The tool runs in a process of its own, on a copy of the finished file; its compiled result is thrown
away, since a file for one chip is no artifact of this target.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgewise.errors import UsageError
from edgewise.findings import Finding

_SECONDS = 900
_STATISTICS = re.compile(
    r"Partitioned subgraph<\d+>, selected (\d+) ops, from a total of (\d+) ops\. "
    r"resulted in (\d+) partitions"
)
#: how the tool says that it cannot start, most telling first
_MISSING = ("Could not load shared library", "Failed to load")
_TOLD_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Vendor:
    """`folder` holds the plug-in, `module` the SDK, which pip knows as `package`; `device_flag`
    is the tool's, where the vendor has more than one device."""

    title: str
    manufacturer: str
    folder: str
    module: str
    package: str
    device_flag: str = ""


VENDORS: dict[str, Vendor] = {
    "google_tensor": Vendor(
        "Google Tensor",
        "Google",
        "google_tensor",
        "ai_edge_litert_sdk_google_tensor",
        "ai-edge-litert-sdk-google-tensor",
    ),
    "intel": Vendor(
        "Intel OpenVINO",
        "IntelOpenVINO",
        "intel_openvino",
        "openvino",
        "openvino",
        "intel_openvino_graph_backends",
    ),
    "mediatek": Vendor(
        "MediaTek",
        "MediaTek",
        "mediatek",
        "ai_edge_litert_sdk_mediatek",
        "ai-edge-litert-sdk-mediatek",
    ),
    "qualcomm": Vendor(
        "Qualcomm",
        "Qualcomm",
        "qualcomm",
        "ai_edge_litert_sdk_qualcomm",
        "ai-edge-litert-sdk-qualcomm",
    ),
    "samsung": Vendor(
        "Samsung",
        "Samsung",
        "samsung",
        "ai_edge_litert_sdk_samsung",
        "ai-edge-litert-sdk-samsung",
    ),
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """What to compile for."""

    vendor: Vendor
    chip: str
    device: str = ""

    @classmethod
    def of(cls, text: str) -> Plugin:
        """From `vendor:chip` or `vendor:chip:device`. Raises UsageError."""
        name, _, rest = text.partition(":")
        chip, _, device = rest.partition(":")
        vendor = VENDORS.get(name)
        if vendor is None or not chip or (device and not vendor.device_flag):
            raise UsageError(
                f"option 'plugin' is '{text}'",
                where="[targets.android]",
                remedy=f"Allowed: vendor:chip, such as qualcomm:SM8750; vendors: "
                f"{', '.join(VENDORS)}.",
            )
        return cls(vendor, chip, device)


def plugin_findings(path: Path, plugin: Plugin) -> list[Finding]:
    """Compile a file for a chip, and tell how many of its operators the vendor's compiler takes."""
    title = f"the {plugin.vendor.title} plug-in"
    remedy = f"Install its SDK (pip install {plugin.vendor.package}), or leave `plugin` out."
    try:
        code, said = _apply(path, plugin)
    except OSError as error:
        return [_unavailable(f"{title} cannot be run: {error}", remedy)]
    except subprocess.TimeoutExpired:
        text = f"{title} did not finish within {_SECONDS} s"
        return [Finding("android/plugin-failed", "warning", text)]
    found = [tuple(map(int, numbers)) for numbers in _STATISTICS.findall(said)]
    if code == 0 and found:
        taken, total, groups = (sum(column) for column in zip(*found, strict=True))
        text = f"{title} compiles {taken} of {total} operators for {plugin.chip}"
        return [Finding("android/plugin", "info", f"{text}, in {groups} group(s)")]
    reason = _reason(said) or f"exit code {code}"
    if not found:
        return [_unavailable(f"{title} is not available here: {reason}", remedy)]
    text = f"{title} cannot compile the file for {plugin.chip}: {reason}"
    return [Finding("android/plugin-failed", "warning", text)]


def _unavailable(text: str, remedy: str) -> Finding:
    return Finding("android/plugin-unavailable", "warning", text, remedy=remedy)


def _apply(path: Path, plugin: Plugin) -> tuple[int, str]:
    """Exit code and words of the tool. Raises OSError, TimeoutExpired."""
    package = _package_folder("ai_edge_litert")
    folder = package / "vendors" / plugin.vendor.folder / "compiler"
    with tempfile.TemporaryDirectory(prefix="edgewise-") as scratch:
        command = [
            str(package / "tools" / "apply_plugin_main"),
            "--cmd=apply",
            f"--model={path.absolute()}",
            f"--o={Path(scratch, 'compiled.tflite')}",
            f"--soc_manufacturer={plugin.vendor.manufacturer}",
            f"--soc_model={plugin.chip}",
            f"--libs={folder}",
            "--err=--",
        ]
        if plugin.device:
            command.append(f"--{plugin.vendor.device_flag}={plugin.device}")
        searched = [*_sdk_folders(plugin.vendor), package, folder]
        known = os.environ.get("LD_LIBRARY_PATH", "")
        libraries = os.pathsep.join([*map(str, searched), *([known] if known else [])])
        done = subprocess.run(
            command,
            cwd=scratch,
            env={**os.environ, "LD_LIBRARY_PATH": libraries, "TMPDIR": scratch},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    return done.returncode, done.stdout.decode(errors="replace")


def _package_folder(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"no package {module}")
    return Path(next(iter(spec.submodule_search_locations)))


def _sdk_folders(vendor: Vendor) -> Iterator[Path]:
    """Where the SDK's package keeps its libraries; nothing without it, and then the loader decides
    by the user's own search path."""
    try:
        folder = _package_folder(vendor.module)
    except FileNotFoundError:
        return
    if vendor.module == "openvino":
        yield folder / "libs"
    else:
        yield Path(str(importlib.import_module(vendor.module).path_to_sdk_libs()))


def _reason(said: str) -> str:
    lines = [line.strip("└├│─ ") for line in said.splitlines()]
    for sign in (*_MISSING, "ERROR"):
        for line in lines:
            if sign in line:
                return line[line.index(sign) :][:_TOLD_CHARACTERS]
    return ""
