"""The dns of a result, from the file in the form of resolv.conf(5) that `ipam.resolvConf` names."""

from __future__ import annotations

import os
import stat

from ringipam.address import parse_address
from ringipam.errors import RequestError
from ringipam.integrations.cni.call import brief
from ringipam.integrations.cni.errors import BAD_CONFIG, IO_FAILURE, CniError

SIZE_MAX = 64 * 1024


def read_dns(path: str) -> dict[str, object]:
    """Blocks; raises CniError 5 if the file cannot be read, 7 if it is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # devices do things when they are opened
            raise _no_file(path)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not keep anybody waiting
    except OSError as error:
        raise CniError(IO_FAILURE, f"cannot read ipam.resolvConf {path}: {error.strerror}") from None
    except ValueError:  # a zero byte, or half of a character
        raise CniError(BAD_CONFIG, f"ipam.resolvConf is no path: {brief(path)}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > SIZE_MAX:
            raise _no_file(path)
        return parse_dns(os.read(fd, SIZE_MAX).decode(errors="replace"))
    except OSError as error:
        raise CniError(IO_FAILURE, f"cannot read ipam.resolvConf {path}: {error.strerror}") from None
    finally:
        os.close(fd)


def _no_file(path: str) -> CniError:
    return CniError(BAD_CONFIG, f"ipam.resolvConf {path} is not a file of at most {SIZE_MAX} bytes")


def parse_dns(content: str) -> dict[str, object]:
    """What counts for a runtime; a nameserver that is no address is left out, as Podman refuses the whole result."""
    nameservers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    domain = ""
    for line in content.splitlines():
        words = line.split()
        if len(words) < 2 or line.startswith(("#", ";")):
            continue
        if words[0] == "nameserver" and _is_address(words[1]):
            nameservers.append(words[1])
        elif words[0] == "domain":
            domain = words[1]
        elif words[0] == "search":
            search += words[1:]
        elif words[0] == "options":
            options += words[1:]
    found = {"nameservers": nameservers, "domain": domain, "search": search, "options": options}
    return {name: value for name, value in found.items() if value}


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except RequestError:
        return False
    return True
