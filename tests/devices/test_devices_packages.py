"""The distribution's archive, with an apt that says what the test wants."""

from __future__ import annotations

from pathlib import Path

import pytest
from distribution_packages import download_packages

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.bundle import packages
from edgewise.targets.validation.devices.bundle.packages import (
    Package,
    package_archive,
)

_CONFIG = """#!/bin/sh
if [ "$1" = dump ]; then cat <<'END'
Acquire::http::Proxy "http://proxy.test:3128";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "true";
APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb || true";
DPkg::Post-Invoke:: "echo changed";
END
else echo "LIST='$HERE/sources.list'"; fi
"""
_SHOWN = """\
Package: qemu-user
Version: 1:10.0.2+ds-2~bpo12
Installed-Size: 300000
Depends: libc6 (>= 2.34)
Size: 62834188
"""


class FakeApt:
    """Tools in a folder that is all of PATH; the settings of the last call are in `conf`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name in ("cat", "cp", "sh", "touch"):
            (folder / name).symlink_to(Path("/bin") / name)
        self.tool("apt-config", _CONFIG.replace("$HERE", str(folder)))
        self.tool("dpkg-deb", "#!/bin/sh\n")
        self.tool("apt-cache", f"#!/bin/sh\ncat <<'END'\n{_SHOWN}END\n")
        self.get("[ $1 = download ] && touch qemu-user.deb; exit 0")
        (folder / "sources.list").write_text("deb http://archive.test/debian stable main\n")
        monkeypatch.setenv("PATH", str(folder))

    def tool(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def get(self, action: str) -> None:
        """What apt-get does, after it has dropped a `-q`."""
        self.tool(
            "apt-get",
            f'#!/bin/sh\ncp $APT_CONFIG {self.folder}/conf\n[ "$1" = -q ] && shift\n{action}\n',
        )


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    folder = tmp_path / "bin"
    folder.mkdir()
    return FakeApt(folder, monkeypatch)


def test_packages_are_downloaded_and_nothing_else_stays(apt: FakeApt, tmp_path: Path) -> None:
    into = tmp_path / "into"
    assert download_packages(["qemu-user"], "arm64", into) == [into / "qemu-user.deb"]
    assert [path.name for path in into.iterdir()] == ["qemu-user.deb"]


def test_settings_of_the_network_are_kept_and_hooks_are_not(apt: FakeApt, tmp_path: Path) -> None:
    download_packages(["qemu-user"], "arm64", tmp_path / "into")
    settings = (apt.folder / "conf").read_text()
    assert 'Acquire::http::Proxy "http://proxy.test:3128";' in settings
    assert 'APT::Architecture "arm64";' in settings
    assert 'Dir::Etc::parts "/dev/null";' in settings
    assert "Invoke" not in settings and "DEP-11" not in settings
    assert "/var/lib" not in settings


def test_what_an_archive_offers(apt: FakeApt, tmp_path: Path) -> None:
    with package_archive("amd64", tmp_path) as archive:
        (package,) = archive.show(["qemu-user"])
    assert package == Package(
        "qemu-user", "1:10.0.2+ds-2~bpo12", "libc6 (>= 2.34)", 62834188, 300000 * 1024
    )
    assert package.release == (10, 0, 2)


@pytest.mark.parametrize("tool", ["apt-get", "apt-cache", "apt-config", "dpkg-deb"])
def test_a_machine_without_apt(apt: FakeApt, tmp_path: Path, tool: str) -> None:
    (apt.folder / tool).unlink()
    with pytest.raises(DeviceError, match=f"has no {tool}: only Debian, Ubuntu") as caught:
        download_packages(["qemu-user"], "arm64", tmp_path / "into")
    assert caught.value.exit_code == 5
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("E: Unable to locate package python3-minimal", "no such package for arm64.*Name an"),
        ("E: Failed to fetch http://a.test  Could not resolve 'a.test'", "Check the network"),
        ("W: x\nE: You don't have enough free space in /tmp", "apt failed: You don't.*Free some"),
        ("E: The sky fell", "arm64: apt failed: The sky fell"),
    ],
)
def test_what_apt_says_in_one_line(apt: FakeApt, tmp_path: Path, said: str, expected: str) -> None:
    apt.get(f'cat >&2 <<"END"\n{said}\nEND\nexit 100')
    with pytest.raises(DeviceError, match=expected) as caught:
        download_packages(["python3-minimal"], "arm64", tmp_path / "into")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "into").iterdir()) == []


def test_a_machine_that_knows_no_archive(apt: FakeApt, tmp_path: Path) -> None:
    (apt.folder / "sources.list").write_text("deb http://vendor.test/x nodistro main\n")
    with pytest.raises(DeviceError, match="apt knows no archive of this machine's release"):
        download_packages(["qemu-user"], "arm64", tmp_path)


def test_an_interrupt_leaves_nothing(
    apt: FakeApt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), package_archive("arm64", tmp_path / "into") as archive:
        assert any((tmp_path / "into").iterdir())
        monkeypatch.setattr(packages, "run_tool", interrupted)
        archive.download(["qemu-user"], tmp_path / "into")
    assert not any((tmp_path / "into").iterdir())
