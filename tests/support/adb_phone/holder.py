"""The first process of a phone's network: plugs the phone in and out, and ends with its input.

It is run in a namespace of its own for network and processes, all of which end with it. Each line
of standard input is `plug`, `unplug` or an adb command, and is answered with `done` or the error.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import time

PORT = 15555
_UP = 0x1  # IFF_UP
_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914  # SIOCGIFFLAGS, SIOCSIFFLAGS
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_PHONE = f"""set -e
if [ -n "$QEMU" ]; then
  mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
  printf '%s' ':arm64:M::{_MAGIC}:{_MASK}:'"$QEMU:FP" > /proc/sys/fs/binfmt_misc/register
fi
for folder in proc dev sys; do mount --rbind /$folder "$ROOT/$folder"; done
if [ -n "$SIZE" ]; then mount -t tmpfs -o "size=$SIZE" data "$ROOT/data/local/tmp"
else mount --bind "$DATA" "$ROOT/data/local/tmp"; fi
mount --bind "$OWN" "$ROOT/own"
exec chroot "$ROOT" /system/bin/env -i PATH=/own:/system/bin QEMU_CPU=cortex-a53 \
  LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/android ADBD_PORT={PORT} /usr/sbin/adbd
"""


def loopback_up() -> None:
    """What `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", flags | _UP))


def plug() -> subprocess.Popen[bytes]:
    """Start adbd. Raises OSError with what it said where it does not listen."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "--propagation=private"]
    with open(os.environ["LOG"], "wb") as log:  # noqa: PTH123
        phone = subprocess.Popen([*command, "sh", "-c", _PHONE], stdout=log, stderr=log)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                return phone
        if phone.poll() is not None:
            break
        time.sleep(0.05)
    with open(os.environ["LOG"], encoding="utf-8", errors="replace") as log:  # noqa: PTH123
        raise OSError(f"adbd does not start here: {log.read()[-300:]}")


def main() -> None:
    loopback_up()
    phone: subprocess.Popen[bytes] | None = None
    for line in sys.stdin:
        words = line.split()
        answer = "done"
        try:
            if words == ["plug"]:
                phone = plug()
            elif words == ["unplug"]:
                assert phone is not None
                phone.kill()
                phone.wait()
            else:
                subprocess.run(words, check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError) as error:
            answer = " ".join(str(error).split())
        print(answer, flush=True)


if __name__ == "__main__":
    main()
