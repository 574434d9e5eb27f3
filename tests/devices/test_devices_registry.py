"""Names of devices: what is kept, what is refused, and what a name means."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edgewise.errors import DeviceError, UsageError
from edgewise.targets.apple.mac import MacAddress
from edgewise.targets.validation.devices import registry
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.registry import NamedDevice, resolve

PI = NamedDevice("pi", "ssh://pi@board:2222", 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(registry.CONFIG_VARIABLE, str(tmp_path / "config"))
    return tmp_path / "config"


def test_a_name_is_kept_with_its_settings(folder: Path) -> None:
    phone = NamedDevice("phone", "adb:XY12", None, '/home/me/a "tool"')
    assert registry.registered() == {}
    assert not registry.add(PI)
    assert not registry.add(phone)
    assert registry.registered() == {"pi": PI, "phone": phone}
    assert sorted(path.name for path in folder.iterdir()) == ["devices.lock", "devices.toml"]
    found = resolve("pi")
    assert (found.text, found.address.text, found.threads) == ("pi", "ssh://pi@board:2222", 4)
    assert str(resolve("phone").benchmark_model) == '/home/me/a "tool"'
    registry.remove("pi")
    assert list(registry.registered()) == ["phone"]


def test_addresses_need_no_list(folder: Path) -> None:
    folder.mkdir()
    (folder / "devices.toml").write_text("damaged [")
    for text in ("local", "mac", "adb", "adb:XY", "emulated:cortex-a53", "ssh://board"):
        assert resolve(text).address.text == text


def test_the_users_folder_for_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(registry.CONFIG_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert registry.registry_path() == tmp_path / "edgewise" / "devices.toml"


def test_an_unknown_name_suggests_the_nearest() -> None:
    registry.add(PI)
    with pytest.raises(DeviceError, match="there is no device 'pie': did you mean 'pi'"):
        resolve("pie")
    with pytest.raises(DeviceError, match="did you mean 'local'"):
        resolve("locla")
    with pytest.raises(UsageError, match="no device is named 'pie': did you mean 'pi'"):
        registry.remove("pie")


@pytest.mark.parametrize("name", ["local", "emulated", "ssh", "adb", "mac"])
def test_a_name_shadows_no_address(name: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be named '{name}': that is an address"):
        registry.add(NamedDevice(name, "ssh://board"))
    assert registry.registered() == {}


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (NamedDevice("a b", "ssh://board"), "names have letters"),
        (NamedDevice("", "ssh://board"), "names have letters"),
        (NamedDevice("pi.home", "ssh://board"), "names have letters"),
        (NamedDevice("pi", "ssh://board", 0), "at least 1"),
        (NamedDevice("here", "local"), "needs no name"),
        (NamedDevice("pi", "ssh://board\n[evil]"), "cannot be written"),
        (NamedDevice("pi", "adb:x", None, "/a\x00b"), "cannot be written"),
    ],
)
def test_what_cannot_be_kept(device: NamedDevice, said: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=said):
        registry.add(device)
    assert registry.registered() == {}


@pytest.mark.parametrize("address", ["board", "ssh://", "ssh://-oProxyCommand=x", "emulated:z80"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(DeviceError):
        registry.add(NamedDevice("pi", address))


@pytest.mark.parametrize(
    "host", ["$(reboot)", "a b", "a;b", "a`b`", "a|b", "a\nb", "[-oX]", "-l@b", "x';'@b", "$u@b"]
)
@pytest.mark.parametrize("scheme", ["ssh://", "mac:"])
def test_a_host_that_a_shell_would_read_is_refused(scheme: str, host: str) -> None:
    with pytest.raises(DeviceError, match="no host that ssh can be given"):
        address = DeviceAddress.of(f"{scheme}{host}")
        MacAddress.of(address.text)


@pytest.mark.parametrize(
    "host", ["pi@board", "build-01.lan:22", "me_2@[fe80::1%eth0]:22", "b\u00fcro"]
)
def test_other_hosts_are_not(host: str) -> None:
    assert DeviceAddress.of(f"ssh://{host}").detail == host


def test_a_name_is_given_once() -> None:
    registry.add(PI)
    with pytest.raises(UsageError, match=r"a device 'pi' already.*ssh://pi@board:2222"):
        registry.add(NamedDevice("pi", "ssh://other"))
    assert registry.registered() == {"pi": PI}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pi = [", "damaged"),
        ("pi = 3", "'pi' is no table"),
        ("[pi]\nthreads = 2", "has no address"),
        ('[pi]\naddress = "ssh://board"\nthread = 2', "did you mean 'threads'"),
        ('[pi]\naddress = "ssh://board"\nthreads = true', "threads is True"),
        ('[pi]\naddress = "board"', "there is no device 'board'"),
        ('[local]\naddress = "ssh://board"', "cannot be named 'local'"),
        (b"\xff\xfe", "damaged"),
    ],
)
def test_a_damaged_list(content: str | bytes, said: str, folder: Path) -> None:
    folder.mkdir()
    path = folder / "devices.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=said) as caught:
        resolve("pi")
    assert str(path) in str(caught.value) and "Correct it" in str(caught.value)
    with pytest.raises(UsageError):
        registry.add(PI)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())


def test_comments_are_not_lost_silently(folder: Path) -> None:
    folder.mkdir()
    (folder / "devices.toml").write_text('# mine\n[pi]\naddress = "ssh://board"\n')
    assert registry.add(NamedDevice("phone", "adb"))
    assert not registry.add(NamedDevice("tablet", "adb:XY"))


def test_a_link_to_the_list_stays(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    mine = tmp_path / "dotfiles.toml"
    mine.write_text("")
    (folder / "devices.toml").symlink_to(mine)
    registry.add(PI)
    assert (folder / "devices.toml").is_symlink()
    assert "ssh://pi@board" in mine.read_text()


def test_writers_take_turns() -> None:
    names = [f"board{index}" for index in range(12)]
    threads = [
        threading.Thread(target=registry.add, args=(NamedDevice(name, f"ssh://{name}"),))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(registry.registered()) == sorted(names)


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(UsageError, match="cannot write the list of devices"):
        registry.add(PI)
