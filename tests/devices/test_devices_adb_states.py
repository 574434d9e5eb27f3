"""What adb says of phones that cannot be used, and what Edgewise makes of it.

The adb here is a stand-in: a script that says what adb's sources make it say, since a real phone
cannot be brought into these states by a test.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.adb import AdbDevice
from edgewise.targets.validation.devices.adb_client import COMMAND_VARIABLE, Adb, without_noise
from edgewise.targets.validation.devices.adb_shell import connect
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.device import LineLost

_PIXEL = "28151JEGR05678         device usb:1-2 product:oriole model:Pixel_6 transport_id:1"
_STARTING = "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
#: in the order of their first words: what the stand-in answers
_ADB = """#!/bin/sh
case "$1 $3" in
  start-server*) printf '%s' {server} >&2; exit {server_code};;
  devices*) printf 'List of devices attached\\n%s\\n\\n' {devices};;
  *features) printf '{features}\\n';;
  *shell) echo {said} >&2; {shell};;
esac
"""


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes `adb` a script that answers so."""

    def make(
        devices: str = _PIXEL,
        *,
        server: str = "",
        server_code: int = 0,
        features: str = "cmd\\nshell_v2",
        said: str = "",
        shell: str = "exit 0",
    ) -> None:
        script = tmp_path / "adb"
        script.write_text(
            _ADB.format(
                devices=shlex.quote(devices),
                server=shlex.quote(server),
                server_code=server_code,
                features=features,
                said=shlex.quote(said),
                shell=shell,
            )
        )
        script.chmod(0o755)
        monkeypatch.setenv(COMMAND_VARIABLE, str(script))

    return make


def _error(address: str = "adb") -> str:
    with pytest.raises(DeviceError) as caught:
        connect(Adb(), DeviceAddress.of(address).detail, address)
    assert caught.value.exit_code == 5
    return str(caught.value)


def test_the_only_phone_needs_no_name(says) -> None:
    says()
    assert connect(Adb(), "", "adb").serial == "28151JEGR05678"


def test_a_serial_may_hold_colons(says) -> None:
    says(f"127.0.0.1:5555         device model:Tablet transport_id:3\n{_PIXEL}")
    address = DeviceAddress.of("adb:127.0.0.1:5555")
    assert connect(Adb(), address.detail, address.text).serial == "127.0.0.1:5555"


def test_no_phone_is_told_with_what_to_do(says) -> None:
    says("")
    message = _error()
    assert message.startswith("adb: no phone is attached. Plug one in")
    assert "USB debugging" in message


def test_of_several_phones_one_has_to_be_named(says) -> None:
    says(f"{_PIXEL}\nemulator-5554          offline transport_id:2")
    assert _error() == (
        "adb: several phones are attached: 28151JEGR05678 (Pixel 6), emulator-5554 (offline). "
        "Name one, such as adb:28151JEGR05678."
    )


def test_a_phone_that_is_not_there_is_told_with_those_that_are(says) -> None:
    says()
    assert _error("adb:XYZ") == (
        "adb:XYZ: there is no such phone: adb sees 28151JEGR05678 (Pixel 6). Plug it in, and see "
        "`adb devices`."
    )
    assert "Run `adb connect 10.0.0.7:5555`" in _error("adb:10.0.0.7:5555")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("unauthorized", "the phone does not trust this computer. Unlock the phone, accept"),
        ("recovery", "the phone does not run Android now: it is in 'recovery'. Start it with"),
        ("sideload", "the phone does not run Android now: it is in 'sideload'. Start it with"),
        (
            "no permissions (user in plugdev group; are your udev rules wrong?); see [http://dev]",
            "this user may not open the USB device. Add udev rules",
        ),
        ("detached", "the phone is 'detached'. Plug it in again"),
    ],
)
def test_a_phone_in_another_state_is_told(says, state: str, message: str) -> None:
    says(f"28151JEGR05678         {state} usb:1-2 transport_id:1")
    began = time.monotonic()
    assert _error().startswith(f"adb: {message}")
    assert time.monotonic() - began < 2


def test_a_phone_that_is_offline_is_waited_for(says, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgewise.targets.validation.devices import adb_shell

    monkeypatch.setattr(adb_shell, "_SETTLING_SECONDS", 0.5)
    says("28151JEGR05678         offline usb:1-2 transport_id:1")
    began = time.monotonic()
    assert _error().startswith("adb: the phone is offline. Plug it in again")
    assert time.monotonic() - began > 0.5


def test_a_server_that_was_just_started_is_given_time(
    says, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewise.targets.validation.devices import adb_shell

    monkeypatch.setattr(adb_shell, "_SETTLING_SECONDS", 0.5)
    says("", server=_STARTING)
    began = time.monotonic()
    assert "no phone is attached" in _error()
    assert time.monotonic() - began > 0.5


def test_a_server_that_does_not_start_is_told(says) -> None:
    fatal = "* daemon not running; starting now at tcp:5037\nADB server didnt ACK\n"
    says(server=f"{fatal}* failed to start daemon\nerror: cannot connect to daemon", server_code=1)
    assert _error() == (
        "adb: the adb server cannot be started: error: cannot connect to daemon. Run "
        "`adb start-server` and look at what it says."
    )


def test_a_missing_adb_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, "/nowhere/adb")
    assert _error() == (
        "adb: cannot start adb ('/nowhere/adb'): No such file or directory. Install Android's "
        "platform tools (on Debian: apt-get install adb), or name adb in EDGEWISE_ADB."
    )


def test_a_phone_with_the_old_shell_protocol_is_refused(says) -> None:
    says(features="cmd\\nstat_v2")
    message = _error()
    assert "cannot pass bytes through its shell unchanged" in message
    assert "Android 7" in message


def test_what_adb_always_says_is_no_error(says) -> None:
    mismatch = "adb server version (40) doesn't match this client (41); killing..."
    says(server=f"{mismatch}\n{_STARTING}")
    assert connect(Adb(), "", "adb").serial == "28151JEGR05678"
    assert without_noise(f"{mismatch}\n{_STARTING}error: closed\n") == "error: closed"


def test_a_script_that_was_cut_off_did_not_succeed(says) -> None:
    says(said="error: closed")
    shell = connect(Adb(), "", "adb")
    with pytest.raises(LineLost, match="the connection to the phone broke: error: closed"):
        shell.run("true", timeout=10)


def test_a_script_that_hangs_is_given_up(says) -> None:
    says(shell="sleep 60")
    shell = connect(Adb(), "", "adb")
    began = time.monotonic()
    with pytest.raises(DeviceError, match=r"no answer from adb in 0.5 s"):
        shell.run("sleep 60", timeout=0.5)
    assert time.monotonic() - began < 5


def test_a_phone_that_goes_during_a_script_is_told(says) -> None:
    says(said="error: device not found")
    shell = connect(Adb(), "", "adb")
    says("")
    with pytest.raises(DeviceError, match="the phone is gone: it was unplugged"):
        shell.run("true", timeout=10)


@pytest.mark.parametrize(
    ("machine", "abi"), [("armv7l", "armeabi-v7a"), ("x86_64", "x86_64,arm64-v8a")]
)
def test_a_phone_of_another_processor_is_refused(says, machine: str, abi: str) -> None:
    answers = f"ro.product.cpu.abilist={abi}\\nmachine={machine}\\n\\nedgewise-end 0\\n"
    says(shell=f"printf '{answers}'")
    with pytest.raises(DeviceError, match=f"no 64-bit ARM kernel: it is {machine}, with the ABI"):
        AdbDevice(DeviceAddress.of("adb")).shell()
