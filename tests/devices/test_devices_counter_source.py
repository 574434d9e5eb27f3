"""The source of QEMU is unpacked by every Python that Edgewise runs in."""

from __future__ import annotations

import inspect
import tarfile
from pathlib import Path

import pytest

from edgewise.targets.validation.devices.counter.qemu_build import _unpacked


def _tarball(folder: Path) -> Path:
    tarball = folder / "qemu.tar.gz"
    with tarfile.open(tarball, "w:gz") as tar:
        for name in ("qemu-10/configure", "qemu-10/include/plugin.h", "qemu-10/roms/large.bin"):
            file = folder / Path(name).name
            file.write_text(name, encoding="utf-8")
            tar.add(file, name)
    return tarball


@pytest.mark.parametrize("old", [False, True], ids=["this Python", "Python 3.11.2"])
def test_the_source_is_unpacked_without_its_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    if old:  # neither the filters nor the argument for one
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        extract = tarfile.TarFile.extract
        plain = (
            {"filter": "fully_trusted"} if "filter" in inspect.signature(extract).parameters else {}
        )

        def extract_of_old(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
            extract(tar, member, path, **plain)  # type: ignore[arg-type]

        monkeypatch.setattr(tarfile.TarFile, "extract", extract_of_old)
    (tmp_path / "into").mkdir()
    folder = _unpacked(_tarball(tmp_path), tmp_path / "into")
    assert folder.name == "qemu-10"
    assert (folder / "include" / "plugin.h").read_text("utf-8") == "qemu-10/include/plugin.h"
    assert not (folder / "roms").exists()


def test_nothing_is_written_outside_of_the_folder(tmp_path: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no filters for archives")
    tarball = tmp_path / "bad.tar"
    with tarfile.open(tarball, "w") as tar:
        (tmp_path / "file").write_text("x", encoding="utf-8")
        tar.add(tmp_path / "file", "../outside")
    (tmp_path / "into").mkdir()
    with pytest.raises(tarfile.FilterError):
        _unpacked(tarball, tmp_path / "into")
