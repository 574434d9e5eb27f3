"""`edgewise emulator`: whole installations or none, with nothing downloaded."""

from __future__ import annotations

import fcntl
import json
import platform
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgewise.cli import app
from edgewise.cli_run import run_app
from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.bundle import install as module
from edgewise.targets.validation.devices.bundle.install import install, remove
from edgewise.targets.validation.devices.bundle.installation import Bundle, Counter, installed
from edgewise.targets.validation.devices.bundle.qemu import Qemu
from edgewise.targets.validation.devices.emulated import EmulatedDevice

#: stands for QEMU: shows the versions that the trial asks for, and capabilities of a core
_QEMU = '#!/bin/sh\ncase "$*" in *getauxval*) echo 3 0;; *) echo 2.0 1.0 3.0;; esac\n'


class FakeParts:
    """What is downloaded and assembled, made on the spot. `digest` names the next bundle."""

    def __init__(self) -> None:
        self.digest, self.qemu_version, self.assembled = "a" * 64, "10.0.2", 0
        self.wheels = {"ai-edge-litert": "2.0", "numpy": "1.0", "onnxruntime": "3.0"}
        self.failure: BaseException | None = None

    def assemble(
        self, staging: Path, emulation: Sequence[str], **_: object
    ) -> tuple[Bundle, tuple[str, ...]]:
        self.assembled += 1
        root, archive = staging / "bundle", staging / "bundle.tar.gz"
        root.mkdir()
        (root / "runner.py").write_text("x" * 1000)
        if self.failure is not None:
            raise self.failure
        archive.write_bytes(b"y" * 500)
        return Bundle(root, archive, self.digest, self.wheels), ()

    def download_qemu(self, architecture: str, folder: Path, **_: object) -> Qemu:
        folder.mkdir()
        path = folder / "qemu-aarch64"
        path.write_text(_QEMU)
        path.chmod(0o755)
        return Qemu(path, self.qemu_version, ("cortex-a53", "cortex-a76"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def parts(cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeParts:
    fake = FakeParts()
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module, "assemble", fake.assemble)
    monkeypatch.setattr(module, "download_qemu", fake.download_qemu)
    monkeypatch.setattr(module, "qemu_on_path", lambda: None)
    monkeypatch.setattr(module, "wanted_versions", lambda: dict(fake.wheels))
    return fake


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


_WHOLE = {"bundle-" + "a" * 16, "bundle-" + "a" * 16 + ".tar.gz", "emulator.json", "qemu-10.0.2"}


def test_an_installation_is_what_others_find(parts: FakeParts, cache: Path) -> None:
    made, is_new = install()
    assert is_new and made == installed()
    assert names(cache) == _WHOLE
    assert made.bundle.root == cache / f"bundle-{'a' * 16}"
    assert made.qemu == cache / "qemu-10.0.2" / "qemu-aarch64"
    assert made.cpus == ("cortex-a53", "cortex-a76") and made.qemu_prefix is None


def test_again_only_where_something_changed(parts: FakeParts, cache: Path) -> None:
    install()
    assert not install()[1]
    assert parts.assembled == 1
    parts.wheels, parts.digest = {**parts.wheels, "numpy": "1.0"}, "b" * 64
    assert not install()[1]
    assert install(force=True)[1]
    assert parts.assembled == 2
    assert names(cache) == {name.replace("a" * 16, "b" * 16) for name in _WHOLE}


def test_other_versions_on_this_machine_install_anew(
    parts: FakeParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setattr(module, "release_names", lambda: ["another"])
    assert install()[1]


def test_what_is_gone_is_installed_anew(parts: FakeParts, cache: Path) -> None:
    found, _ = install()
    found.bundle.archive.unlink()
    with pytest.raises(DeviceError, match=r"tar\.gz is gone. Run `edgewise emulator install`"):
        installed()
    assert install()[1]
    assert names(cache) == _WHOLE


@pytest.mark.parametrize("failure", [DeviceError("no network"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(
    parts: FakeParts, cache: Path, failure: BaseException
) -> None:
    parts.failure = failure
    with pytest.raises(type(failure)):
        install()
    assert names(cache) == set()
    parts.failure = None
    install()
    parts.failure = failure
    with pytest.raises(type(failure)):
        install(force=True)
    assert names(cache) == _WHOLE and installed()


def test_a_full_disk_is_one_line(parts: FakeParts, cache: Path) -> None:
    parts.failure = OSError(28, "No space left on device", "somewhere")
    with pytest.raises(DeviceError, match=r"somewhere: .*No space left on device"):
        install()
    assert names(cache) == set()


def test_too_little_space_is_told_before_the_download(
    parts: FakeParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DeviceError, match="5 MB are free, 900 MB are needed meanwhile"):
        install()
    assert parts.assembled == 0


def test_what_a_killed_process_left_is_deleted(parts: FakeParts, cache: Path) -> None:
    (cache / ".install-abc" / "bundle").mkdir(parents=True)
    install()
    assert names(cache) == _WHOLE


def test_a_second_process_waits_and_finds_it(parts: FakeParts, cache: Path) -> None:
    install()
    results: list[bool] = []
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: results.append(install()[1]))
        second.start()
        time.sleep(0.1)
        assert results == []
    second.join(timeout=10)
    assert results == [False]


def test_a_bundle_of_other_versions_than_its_wheels_is_refused(
    parts: FakeParts, cache: Path
) -> None:
    parts.wheels = {**parts.wheels, "numpy": "1.1"}
    with pytest.raises(DeviceError, match="has other versions than its wheels"):
        install()
    assert names(cache) == set()


def test_an_old_qemu_is_shown_a_cpuinfo_per_core(parts: FakeParts, cache: Path) -> None:
    parts.qemu_version = "7.2.9"
    made, _ = install()
    assert made.qemu_prefix == cache / "qemu-7.2.9" / "cpu"
    text = (made.qemu_prefix / "cortex-a53" / "proc" / "cpuinfo").read_text()
    assert "Features\t: fp asimd\n" in text and "CPU part\t: 0xd03\n" in text
    device = EmulatedDevice(DeviceAddress.of("emulated:cortex-a76"))
    command = device.command()
    assert command[command.index("-L") + 1] == str(made.qemu_prefix / "cortex-a76")


def test_a_core_that_this_qemu_does_not_know(parts: FakeParts) -> None:
    install()
    with pytest.raises(DeviceError, match=r"QEMU 10\.0\.2 does not know neoverse-v1.*cortex-a76"):
        EmulatedDevice(DeviceAddress.of("emulated:neoverse-v1"))


def test_the_counter_stays_where_the_bundle_is_new(
    parts: FakeParts, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(cache / "counter" / "qemu", cache / "counter" / "plugin.so")
    built: list[Path] = []
    monkeypatch.setattr(module, "build_counter", lambda folder, _: built.append(folder) or counter)
    assert install()[0].counter is None
    assert install(counter=True) == (installed(), True)
    assert built == [cache / "counter"]
    assert install(force=True)[0].counter == counter
    assert install(counter=True)[1] is False


def test_removing_leaves_what_is_not_ours(parts: FakeParts, cache: Path) -> None:
    assert remove() == 0
    install()
    (cache / "other.json").write_text("{}")
    assert remove() >= 1500
    assert names(cache) == {"other.json"}
    with pytest.raises(DeviceError, match="not installed"):
        installed()


def test_an_arm64_machine_needs_no_qemu(parts: FakeParts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(module, "_try", lambda bundle, emulator: None)
    made, _ = install()
    assert made.qemu is None
    device = EmulatedDevice(DeviceAddress.of("emulated:cortex-a53"))
    assert device.latency_reason is None
    assert device.command()[0].endswith("ld-linux-aarch64.so.1")


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64")])
def test_machines_that_cannot(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    system: str, machine: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert run_app(app, ["emulator", "install"]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert f"this is {system} on {machine}. Use a container of Debian or Ubuntu." in line
    assert not cache.exists()


def test_the_commands(parts: FakeParts, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["emulator", "status"]) == 5
    assert "Run `edgewise emulator install` once" in capsys.readouterr().err
    assert run_app(app, ["emulator", "install"]) == 0
    told = capsys.readouterr().out
    assert "numpy 1.0" in told and "QEMU 10.0.2" in told and "already" not in told
    assert run_app(app, ["emulator", "install"]) == 0
    assert "installed already" in capsys.readouterr().out
    assert run_app(app, ["emulator", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle"]["digest"] == "a" * 64
    assert run_app(app, ["emulator", "remove"]) == 0
    assert "Removed 0 MB" in capsys.readouterr().out
    assert run_app(app, ["emulator", "remove"]) == 0
    assert "Nothing was installed" in capsys.readouterr().out
