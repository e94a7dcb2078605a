"""The configuration of a node, checked once, before anything is opened."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from grp import getgrnam
from pathlib import Path

from ringipam.address import Cidr, Range, parse_address, parse_cidr, parse_subnet
from ringipam.errors import RequestError

PORT_DEFAULT = 6783
PORT_MAX = 65535
IPV6_DIR = "ipv6"
"""Where in the data directory the state of a second range lies, that of `iprange6`."""
NAME_PATTERN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?")
SOCKET_VARIABLE = "RINGIPAM_SOCKET"
SYSTEM_SOCKET = Path("/run/ringipam/ringipam.sock")
"""With its own socket there a daemon is the one of this host."""
SYSTEM_DATA = Path("/var/lib/ringipam")
TIMEOUT_S = 30.0
"""How long an allocation, a claim or a prime may wait, unless told otherwise."""
TIMEOUT_S_MAX = 3600.0
"""Whoever waits longer has forgotten that they wait; the same limit holds on every surface."""
OLDER_THAN_S = 60.0
"""The leases that `reconcile` looks at have at least this age, unless told otherwise."""
OLDER_THAN_S_MAX = 366 * 86_400.0
LOG_FORMATS = ("text", "json")


WATCHED = ("/var/run/docker.sock", "/run/podman/podman.sock")
"""Where Docker and Podman listen; whether they are there, or come later, is looked at again and again."""
GROUP_NUMBER_MAX = (1 << 32) - 2
PATHS = (
    *("data_dir", "socket", "password_file", "ca", "cert", "key", "cni_dir"),
    *("http_token_file", "http_cert", "http_key", "http_ca"),
    *("docker_plugin", "docker_api"),
)
"""The settings that are paths."""


class Mode(Enum):
    """How a ring begins (docs/design.md, "Starting a ring")."""

    LISTED = "listed"
    """Every listed peer has answered that it knows no ring, and accepted: the default."""
    CONSENSUS = "consensus"
    SEED = "seed"
    OBSERVER = "observer"
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Init:
    mode: Mode
    electors: int = 0
    """With CONSENSUS: how many initial hosts there are at most."""
    seeds: tuple[str, ...] = ()
    """With SEED: the names of the initial hosts, sorted."""


def parse_init(text: str | None, peers: Sequence[str]) -> Init:
    """`consensus=N`, `seed=a,b,c`, `observer`, `alone`, or None for the default; raises RequestError."""
    if text is None:
        return Init(Mode.LISTED) if peers else Init(Mode.ALONE)
    word, _, value = text.partition("=")
    if word == "consensus" and re.fullmatch(r"[0-9]{1,4}", value) and 1 <= int(value) <= 1000:
        return Init(Mode.CONSENSUS, electors=int(value))
    if word == "seed" and value:
        names = value.split(",")
        for name in names:
            check_name(name)
        if len(set(names)) != len(names):
            raise RequestError(f"--init {text}: a name stands there twice")
        return Init(Mode.SEED, seeds=tuple(sorted(names)))
    if text in ("observer", "alone"):
        return Init(Mode(text))
    raise RequestError(f"--init takes consensus=N (1 to 1000), seed=NAME,NAME,…, observer or alone, not {text!r}")


def check_name(name: str) -> str:
    """`name` if it can name a host; raises RequestError."""
    if not NAME_PATTERN.fullmatch(name):
        raise RequestError(f"a host's name has 1 to 63 letters, digits, '-', '_' or '.': {name!r}")
    return name


def check_age(seconds: float) -> float:
    """`seconds` if it can be the age of a lease; raises RequestError."""
    if not 0 <= seconds <= OLDER_THAN_S_MAX:
        raise RequestError(f"an age is 0 to {OLDER_THAN_S_MAX:.0f} seconds, not {seconds}")
    return seconds


def parse_endpoint(text: str, port_default: int | None = PORT_DEFAULT) -> tuple[str, int]:
    """`HOST:PORT`, `HOST`, `[V6]:PORT` or a bare IPv6 address; raises RequestError."""
    match = re.fullmatch(r"\[([^\]\s]+)\](?::(\d{1,5}))?|([^:\s\[\]]*):(\d{1,5})|([^\s\[\]]+)", text)
    host = port = None
    if match:
        host = match[1] or match[3] or match[5] or ""
        port = match[2] or match[4]
    if host is None or not text.isprintable() or (port is None and port_default is None):
        raise RequestError(f"not of the form HOST:PORT: {text!r}")
    if ":" in host and not _is_ipv6(host):
        raise RequestError(f"not of the form HOST:PORT: {text!r}")
    number = int(port) if port is not None else port_default
    assert number is not None
    if not 0 <= number <= PORT_MAX:
        raise RequestError(f"no such port: {text!r}")
    return host, number


def format_endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_endpoint(text: str) -> str:
    """Where a peer is dialled, `HOST:PORT`, from what `parse_endpoint` takes; raises RequestError."""
    host, port = parse_endpoint(text)
    if not host or not port:
        raise RequestError(f"not a peer's address, HOST or HOST:PORT: {text!r}")
    return format_endpoint(host, port)


def next_port(text: str) -> str:
    """The endpoint of the second ring, where `text` is that of the first; port 0 stays 0. Raises RequestError."""
    host, port = parse_endpoint(text)
    if port == PORT_MAX:
        raise RequestError(f"the second ring uses the port after the first one's, and there is none after {text}")
    return format_endpoint(host, port + 1 if port else 0)


def _family_of(text: str) -> int:
    """Of an address or CIDR."""
    return parse_address(text.partition("/")[0])[0]


def _inside(part: Range, family: int, universe: Cidr) -> bool:
    return family == universe.family and universe.range.covers(part)


def _is_ipv6(host: str) -> bool:
    try:
        return parse_address(host.partition("%")[0])[0] == 6
    except RequestError:
        return False


def default_data_dir() -> Path:
    if os.geteuid() == 0:
        return SYSTEM_DATA
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ringipam"


def default_socket() -> Path:
    """Where the daemon is reached, unless `--socket` says otherwise."""
    if told := os.environ.get(SOCKET_VARIABLE):
        return Path(told)
    if os.geteuid() == 0:
        return SYSTEM_SOCKET
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/ringipam-{os.geteuid()}") / "ringipam/ringipam.sock"


@dataclass(frozen=True)
class Config:
    """How a node runs. Every problem is found when it is built: raises RequestError.

    The fields are the options of `ringipam launch`, with the same defaults.
    """

    iprange: str
    subnet: str | None = None
    """The subnet an address comes from when the caller names none; the whole range if None."""
    iprange6: str | None = None
    """A second range, of IPv6 beside an IPv4 one: a ring of its own, on the port after the first one's."""
    subnet6: str | None = None
    """As `subnet`, for `iprange6`."""
    name: str = field(default_factory=lambda: socket.gethostname().partition(".")[0])
    listen: str | None = None
    """None: 0.0.0.0:6783 with credentials, 127.0.0.1:6783 without."""
    advertise: str | None = None
    data_dir: Path = field(default_factory=default_data_dir)
    socket: Path = field(default_factory=default_socket)
    socket_mode: str | None = None
    """In octal; None: 0600, or 0660 with `socket_group`."""
    socket_group: str | None = None
    http: str | None = None
    """HOST:PORT for the API besides the socket, whose file mode it bypasses; beyond loopback with credentials only."""
    http_token_file: Path | None = None
    http_cert: Path | None = None
    http_key: Path | None = None
    http_ca: Path | None = None
    """Clients over TCP need a certificate of this authority, which is not that of the hosts."""
    docker_plugin: Path | None = None
    """Where Docker finds its IPAM driver, or `none`; None: its usual place, if this host seems to have Docker."""
    docker_api: Path = Path("/var/run/docker.sock")
    """Docker's own socket, to see what became of the addresses that Docker was given; or `none`."""
    init: str | None = None
    exclude: tuple[str, ...] = ()
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    insecure: bool = False
    peers: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    """API sockets of container engines, whose containers' leases end with them; () is `WATCHED` for root, else none."""
    on_restart: str = "trust"
    """`verify`: after a start nothing is issued before one peer has confirmed that the data is current."""
    log_format: str = "text"
    """Of the lines on standard error: one of `LOG_FORMATS`."""
    quarantine_s: float = 30.0
    """How long a freed address rests before it is issued again, if others are free."""
    cni_dir: Path | None = None
    """Where the CNI program leaves releases that the daemon cannot be told of; None: `cni` in `data_dir`."""
    reap_after_s: float = 300.0
    """How long container runtimes have after a start to ask again for the addresses of before a reboot."""

    def __post_init__(self) -> None:
        for name in PATHS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _path(name, getattr(self, name)))
        for name in ("exclude", "peers", "watch"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if re.match(r"https?:/", str(self.socket)):
            raise RequestError(f"the daemon's own --socket is a path, not {self.socket}")
        check_name(self.name)
        self._check_ranges()
        self._check_excludes()
        self._check_credentials()
        for peer in self.peers:
            peer_endpoint(peer)
        self._check_endpoints()
        _ = self.socket_permissions
        _ = self.watched
        parse_init(self.init, self.peers)
        if self.on_restart not in ("trust", "verify"):
            raise RequestError(f"--on-restart takes trust or verify, not {self.on_restart!r}")
        if self.log_format not in LOG_FORMATS:
            raise RequestError(f"--log-format is {' or '.join(LOG_FORMATS)}, not {self.log_format!r}")
        if not 0 <= self.quarantine_s <= 86_400:
            raise RequestError(f"quarantine_s is 0 to 86400 seconds, not {self.quarantine_s}")
        if not 0 <= self.reap_after_s <= 86_400:
            raise RequestError(f"--reap-after is 0 to 86400 seconds, not {self.reap_after_s}")
        if self.iprange6 is not None:
            self.of_family(6)  # there is a port after each

    def _check_ranges(self) -> None:
        if not _inside(self.default_subnet.range, self.default_subnet.family, self.universe):
            raise RequestError(f"--subnet {self.subnet} does not lie inside --iprange {self.iprange}")
        if self.iprange6 is None:
            if self.subnet6 is not None:
                raise RequestError("--subnet6 needs --iprange6, the range it lies in")
            return
        second = parse_subnet(self.iprange6)
        if (self.universe.family, second.family) != (4, 6):
            raise RequestError(
                f"--iprange6 is an IPv6 range beside an IPv4 --iprange, not {self.iprange6} beside {self.iprange}"
            )
        if self.subnet6 is not None:
            subnet = parse_subnet(self.subnet6)
            if not _inside(subnet.range, subnet.family, second):
                raise RequestError(f"--subnet6 {self.subnet6} does not lie inside --iprange6 {self.iprange6}")

    def _check_excludes(self) -> None:
        either = self.iprange if self.iprange6 is None else f"{self.iprange} or --iprange6 {self.iprange6}"
        for text, excluded in zip(self.exclude, self.excluded, strict=True):
            if not any(_inside(excluded, _family_of(text), universe) for universe in self.universes):
                raise RequestError(f"--exclude {text} does not lie inside --iprange {either}")

    def _check_endpoints(self) -> None:
        host, _ = parse_endpoint(self.listen_on)
        if not self.has_credentials and not self.insecure and not is_loopback(host):
            raise RequestError(
                f"--listen {self.listen_on} is open to the network: give --password-file, or --ca, --cert and --key,"
                " or --insecure if you mean it"
            )
        self._check_http()
        if self.advertise is not None and not parse_endpoint(self.advertise)[0]:
            raise RequestError(f"--advertise needs a host: {self.advertise!r}")

    def _check_http(self) -> None:
        if (self.http_cert is None) != (self.http_key is None):
            raise RequestError("--http-cert and --http-key go together")
        if self.http_ca is not None and self.http_cert is None:
            raise RequestError("--http-ca needs --http-cert and --http-key")
        if self.http is None:
            if self.http_token_file is not None or self.http_cert is not None:
                raise RequestError("--http-token-file, --http-cert, --http-key and --http-ca are about --http")
        elif not is_loopback(parse_endpoint(self.http, None)[0]) and not (self.http_token_file or self.http_ca):
            raise RequestError(
                f"--http {self.http} is open to the network: give --http-token-file, or --http-ca with --http-cert"
                " and --http-key"
            )

    def _check_credentials(self) -> None:
        certificates = [self.ca, self.cert, self.key]
        if any(certificates) and not all(certificates):
            raise RequestError("--ca, --cert and --key go together")
        if sum((self.password_file is not None, self.ca is not None, self.insecure)) > 1:
            raise RequestError("give one of --password-file, --ca with --cert and --key, or --insecure")

    def of_family(self, family: int) -> Config:
        """The configuration of the node of one of two ranges (docs/design.md, "Two families").

        The second ring uses the port after the first one's, here and on every peer. Raises RequestError if there is
        none.
        """
        exclude = tuple(text for text in self.exclude if _family_of(text) == family)
        if family == 4:
            return dataclasses.replace(self, iprange6=None, subnet6=None, exclude=exclude)
        assert self.iprange6 is not None
        return dataclasses.replace(
            self,
            iprange6=None,
            subnet6=None,
            exclude=exclude,
            iprange=self.iprange6,
            subnet=self.subnet6,
            listen=next_port(self.listen_on),
            advertise=None if self.advertise is None else next_port(self.advertise),
            peers=tuple(map(next_port, self.peers)),
            data_dir=self.data_dir / IPV6_DIR,
        )

    @property
    def universe(self) -> Cidr:
        return parse_subnet(self.iprange)

    @property
    def universes(self) -> tuple[Cidr, ...]:
        """The range, or both."""
        return (self.universe,) if self.iprange6 is None else (self.universe, parse_subnet(self.iprange6))

    @property
    def default_subnet(self) -> Cidr:
        return parse_subnet(self.subnet) if self.subnet is not None else self.universe

    @property
    def excluded(self) -> tuple[Range, ...]:
        """What `--exclude` keeps out of allocation; it can still be claimed."""
        found = []
        for text in self.exclude:
            if "/" in text:
                found.append(parse_cidr(text).range)
            else:
                _, address = parse_address(text)
                found.append(Range(address, address + 1))
        return tuple(found)

    @property
    def socket_permissions(self) -> tuple[int, int | None]:
        """Mode of the API's unix socket, and the number of its group if that is not the daemon's."""
        mode, group = self.socket_mode, None
        if mode is not None and not re.fullmatch(r"0?[67][0-7][0-7]", mode):
            raise RequestError(
                f"--socket-mode is octal and leaves the owner read and write, as 0660 does, not {mode!r}"
            )
        if self.socket_group is not None:
            group = _group_number(self.socket_group)
        return int(mode or ("0600" if group is None else "0660"), 8), group

    @property
    def watched(self) -> tuple[Path, ...]:
        """The API sockets of the container engines to be watched, each once."""
        if self.watch == ("none",):
            return ()
        if "none" in self.watch or not all(self.watch):
            raise RequestError("--watch takes the path of a socket, or none and nothing else")
        chosen = self.watch or (WATCHED if os.geteuid() == 0 else ())
        return tuple(dict.fromkeys(_path("watch", path) for path in chosen))

    @property
    def cni_directory(self) -> Path:
        """Where the CNI program leaves what it could not tell this daemon.

        A program that was put in place without options asks at the usual socket and leaves things in the usual place,
        wherever the daemon there has its data.
        """
        usual = SYSTEM_DATA if self.socket == SYSTEM_SOCKET else self.data_dir
        return self.cni_dir if self.cni_dir is not None else usual / "cni"

    @property
    def has_credentials(self) -> bool:
        return self.password_file is not None or self.ca is not None

    @property
    def listen_on(self) -> str:
        if self.listen is not None:
            return self.listen
        host = "0.0.0.0" if self.has_credentials or self.insecure else "127.0.0.1"
        return f"{host}:{PORT_DEFAULT}"


def _path(name: str, value: str | Path) -> Path:
    if "\0" in str(value):
        raise RequestError(f"{name} is no path, as it holds a zero byte: {str(value)!r}")
    return Path(value)


def _group_number(group: str) -> int:
    try:
        number = int(group) if re.fullmatch(r"[0-9]{1,10}", group) else getgrnam(group).gr_gid
    except (KeyError, ValueError):  # ValueError: what cannot be a name at all
        number = GROUP_NUMBER_MAX + 1
    if number > GROUP_NUMBER_MAX:
        raise RequestError(f"--socket-group: there is no group {group!r} on this host")
    return number


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        family, address = parse_address(host)
    except RequestError:
        return False
    return address >> 24 == 127 if family == 4 else address == 1


def config_from_file(path: Path, overrides: Mapping[str, object]) -> Config:
    """The TOML file at `path` with `overrides` (options of the command line) on top; raises RequestError."""
    import tomllib  # only `launch` reads one

    known = {f.name: f for f in dataclasses.fields(Config)}
    try:
        data = {str(key).replace("-", "_"): value for key, value in tomllib.loads(path.read_text()).items()}
    except (OSError, ValueError) as error:  # of tomllib, of text that is not UTF-8, of integers of thousands of digits
        raise RequestError(f"cannot read the configuration {path}: {error}") from None
    except RecursionError:
        raise RequestError(f"cannot read the configuration {path}: it is nested too deeply") from None
    for key, value in data.items():
        if key not in known:
            raise RequestError(f"{path}: unknown setting {key!r}; known are {', '.join(sorted(known))}")
        _check_setting(path, key, value)
    return config_from_settings({**data, **overrides})


def config_from_settings(settings: Mapping[str, object]) -> Config:
    """A Config from loose settings; raises RequestError."""
    if "iprange" not in settings:
        raise RequestError("--iprange CIDR is needed: the addresses all hosts share, for example 10.32.0.0/12")
    return Config(**settings)  # type: ignore[arg-type]  # every value was checked by its source


def _check_setting(path: Path, key: str, value: object) -> None:
    if key in ("exclude", "peers", "watch"):
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        wanted = "a list of strings"
    elif key == "insecure":
        good, wanted = isinstance(value, bool), "true or false"
    elif key in ("quarantine_s", "reap_after_s"):
        good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
        wanted = "a number of seconds"
    else:
        good, wanted = isinstance(value, str), "a string"
    if not good:
        raise RequestError(f"{path}: {key} is {wanted}, not {_shown(value)}")


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python writes no integer of thousands of digits
        return "that many digits"
