"""Wheels for another machine, with an installer that says what the test wants."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.bundle import wheels
from edgewise.targets.validation.devices.bundle.tools import ToolFailed
from edgewise.targets.validation.devices.bundle.wheels import Interpreter, install_wheels

_BOOKWORM = Interpreter((3, 11), (2, 36))
_MISSING = "ERROR: Could not find a version\nERROR: No matching distribution found for {}"
Answer = Callable[[str], str]


def nothing_missing(requirement: str) -> str:
    return ""


class FakeInstaller:
    """Installs what `answer` has no objection to: `name==1.0` as 1.0, all else as 0.9."""

    def __init__(self, site: Path) -> None:
        self.site, self.answer = site, nothing_missing
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> str:
        self.commands.append(list(command))
        requirements = [part for part in command if part.startswith(("numpy", "onnxruntime"))]
        said = [said for said in map(self.answer, requirements) if said]
        if said:
            raise ToolFailed(command, 1, said[0])
        for requirement in requirements:
            name, _, version = requirement.partition("==")
            version = version or "0.9"
            folder = self.site / f"{name.partition('<')[0]}-{version}.dist-info"
            folder.mkdir(parents=True)
            metadata = f"Name: {name.partition('<')[0]}\nVersion: {version}\n"
            (folder / "METADATA").write_text(metadata)
        return ""


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeInstaller:
    fake = FakeInstaller(tmp_path / "site")
    monkeypatch.setattr(wheels, "run_tool", fake)
    return fake


def test_versions_of_this_machine_in_one_go(installer: FakeInstaller) -> None:
    wanted = {"numpy": "1.0", "onnxruntime": "1.0"}
    assert install_wheels(wanted, _BOOKWORM, installer.site) == wanted
    (command,) = installer.commands
    assert "manylinux_2_36_aarch64" in command and "manylinux_2_37_aarch64" not in command
    assert command[command.index("--python-version") + 1] == "3.11"
    assert {"--no-deps", "--only-binary=:all:", "cp311", "abi3"} <= set(command)


def test_the_nearest_version_where_there_is_no_wheel(installer: FakeInstaller) -> None:
    installer.answer = lambda asked: _MISSING.format(asked) if asked == "numpy==1.0" else ""
    wanted = {"numpy": "1.0", "onnxruntime": "1.0"}
    found = install_wheels(wanted, _BOOKWORM, installer.site)
    assert found == {"numpy": "0.9", "onnxruntime": "1.0"}
    assert [command[-1] for command in installer.commands[1:]] == [
        "numpy==1.0", "numpy<1.0", "onnxruntime==1.0",
    ]  # fmt: skip


def test_no_wheel_at_all(installer: FakeInstaller) -> None:
    installer.answer = _MISSING.format
    with pytest.raises(DeviceError, match="cannot download ARM64 wheels of numpy: Could not find"):
        install_wheels({"numpy": "1.0"}, _BOOKWORM, installer.site)
    assert [command[-1] for command in installer.commands[1:]] == [
        "numpy==1.0", "numpy<1.0", "numpy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("WARNING: Retrying after connection broken\n" + _MISSING, "Check the network"),
        ("ERROR: OSError: [Errno 28] No space left on device", "Free some space"),
    ],
)
def test_other_errors_are_told_at_once(installer: FakeInstaller, said: str, expected: str) -> None:
    installer.answer = lambda asked: said
    with pytest.raises(DeviceError, match=expected) as caught:
        install_wheels({"numpy": "1.0"}, _BOOKWORM, installer.site)
    assert len(installer.commands) == 1
    assert caught.value.exit_code == 5 and "\n" not in str(caught.value)


def _without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    hidden = lambda name: None if name == "pip" else real(name)  # noqa: E731
    monkeypatch.setattr(wheels.importlib.util, "find_spec", hidden)


def test_uv_where_there_is_no_pip(
    installer: FakeInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_pip(monkeypatch)
    uv = tmp_path / "uv"
    uv.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    install_wheels({"numpy": "1.0"}, Interpreter((3, 13), (2, 29)), installer.site)
    (command,) = installer.commands
    assert command[0] == str(uv)
    assert command[command.index("--python-platform") + 1] == "aarch64-manylinux_2_28"


def test_neither_pip_nor_uv(
    installer: FakeInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_pip(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="neither pip nor uv"):
        install_wheels({"numpy": "1.0"}, _BOOKWORM, installer.site)
