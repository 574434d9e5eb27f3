"""Which devices an artifact is validated on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewise.errors import DeviceError, UsageError
from edgewise.targets.validation.devices import chosen, registry, resolve, runs, takes_times_here
from edgewise.targets.validation.devices.bundle.installation import CACHE_VARIABLE
from edgewise.targets.validation.devices.registry import NamedDevice


@pytest.fixture(autouse=True)
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.CONFIG_VARIABLE, str(tmp_path))
    registry.add(NamedDevice("pi", "ssh://board"))
    registry.add(NamedDevice("studio", "mac:me@studio"))


def test_order_is_the_users() -> None:
    assert [device.text for device in chosen(["pi", "local", "adb"])] == ["pi", "local", "adb"]
    assert chosen([]) == ()


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["local", "pi", "local"], "'local' is named twice. Name"),
        (["pi", "ssh://board"], "'ssh://board' is named twice: 'ssh://board' is 'pi'"),
    ],
)
def test_a_device_is_named_once(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        chosen(texts)


@pytest.mark.parametrize(
    ("device", "targets"),
    [
        ("local", {"android", "apple", "arm"}),
        ("pi", {"android", "arm"}),
        ("adb:XY", {"android", "arm"}),
        ("emulated:max", {"android", "arm"}),
        ("studio", {"apple"}),
        ("mac", {"apple"}),
    ],
)
def test_what_runs_where(device: str, targets: set[str]) -> None:
    found = {name for name in ("android", "apple", "arm") if runs(resolve(device), name)}
    assert found == targets


def test_whose_speed_is_measured_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {text: takes_times_here(resolve(text)) for text in ("local", "mac", "studio", "pi")}
    assert here == {"local": True, "mac": True, "studio": False, "pi": False}
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "empty"))
    with pytest.raises(DeviceError, match="not installed"):
        takes_times_here(resolve("emulated:max"))
