"""The system's ssh, with the user's own configuration.

`EDGEWISE_SSH` is the ssh command to use, options included (`ssh` without it).
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from edgewise.errors import DeviceError

#: names another ssh command
COMMAND_VARIABLE = "EDGEWISE_SSH"
#: what ssh itself fails with; other codes are those of the far command
FAILED = 255
#: Never ask; notice within 15 s that nobody is there, at the start and later. What a user's
#: configuration may add to a session of a person has no place in a pipe.
OPTIONS = tuple(
    word
    for option in (
        "BatchMode=yes",
        "ConnectTimeout=10",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "RequestTTY=no",
    )
    for word in ("-o", option)
)
_HOST = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^@:\[\]]+)(?::(?P<port>\d+))?")
#: What has a meaning to a shell: ssh before 9.6 hands names unquoted to the one that runs a
#: ProxyCommand or a `Match exec` of the user's configuration (CVE-2023-51385).
_UNSAFE = re.compile(r"^\[?-|[\s\x00-\x1f\x7f]|['\"`$&;|<>(){}*?!#~,\\]")

#: what ssh says -> what is wrong, and what to do; the first that fits
_FAILURES = (
    (
        r"could not resolve hostname",
        "the host name is unknown",
        "Check its spelling and the network, or add the host to ~/.ssh/config.",
    ),
    (
        r"connection refused",
        "the host answers, but no ssh server does",
        "Start the ssh server there, or name its port as ssh://user@host:port.",
    ),
    (
        r"timed out|no route to host|network is unreachable|host is down",
        "the host does not answer",
        "Check that it is switched on, and in reach of this network.",
    ),
    (
        r"remote host identification has changed|offending \S+ key in",
        "the host's key is another one than before",
        "If the device was set up anew, delete the old key with `ssh-keygen -R HOST`, and connect "
        "once with `ssh`.",
    ),
    (
        r"host key verification failed|no \S+ host key is known",
        "the host's key is not known yet",
        "Connect once with `ssh`, and accept its key.",
    ),
    (
        r"permission denied|too many authentication failures|no supported authentication",
        "the host does not let this user in",
        "Install a key there with `ssh-copy-id`, or name another user as ssh://user@host: "
        "Edgewise cannot type passwords.",
    ),
    (
        r"connection (?:to \S+ )?(?:closed|reset)|broken pipe|shared connection to|"
        r"not responding|client_loop|mux_client",
        "the connection broke",
        "Check the network and the device's power, and try again.",
    ),
)
_REACH = "Check that `ssh` reaches it without a question."


@dataclass(frozen=True, slots=True)
class SshHost:
    """Where ssh goes: a host name, address or alias of the user's configuration."""

    host: str
    user: str = ""
    port: str = ""

    @classmethod
    def of(cls, text: str) -> SshHost:
        """Of `user@host:port`; an IPv6 address is in brackets, as in a URL."""
        found = _HOST.fullmatch(text)
        if found is None:
            raise ValueError(f"no ssh host: {text}")
        host = found["host"].removeprefix("[").removesuffix("]")
        return cls(host, found["user"] or "", found["port"] or "")

    def command(self, *options: str) -> list[str]:
        """ssh up to the host: what follows is the far command, in one word."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", self.port] if self.port else []
        return [*ssh_command(), *OPTIONS, *options, *user, *port, "--", self.host]


def is_safe(name: str) -> bool:
    """Whether a host or user can be handed to ssh: no option, and nothing to a shell."""
    return _UNSAFE.search(name) is None


def ssh_command() -> list[str]:
    """The words of the user's ssh."""
    return shlex.split(os.environ.get(COMMAND_VARIABLE, "")) or ["ssh"]


def is_passing(said: str) -> bool:
    """Whether a refused connection may be a server that is starting, or has too many guests."""
    return bool(
        re.search(r"(?i)connection refused|kex_exchange_identification|reset by peer", said)
    )


def failure(address: str, said: str) -> DeviceError:
    """Why ssh itself failed, out of what it said on standard error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for pattern, what, remedy in _FAILURES:
        told = [line for line in lines if re.search(pattern, line, re.IGNORECASE)]
        if told:
            return DeviceError(what, where=address, why=f"ssh says: {told[-1]}", remedy=remedy)
    why = f"ssh says: {lines[-1]}" if lines else "ssh says nothing"
    return DeviceError("cannot reach the device", where=address, why=why, remedy=_REACH)


def not_started(address: str, error: OSError) -> DeviceError:
    """Why there is no ssh."""
    return DeviceError(
        f"cannot start ssh ('{ssh_command()[0]}')",
        where=address,
        why=error.strerror or str(error),
        remedy=f"Install OpenSSH's client, or name it in {COMMAND_VARIABLE}.",
    )
