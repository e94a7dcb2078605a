"""The CNI program once more, for where no compiler was: hands environment and standard input to the daemon.

What is done and why stands in ringipam.c beside this; here is the same, behaviour for behaviour. `ringipam cni install`
puts it in place under `#!…/python3 -IS`: an interpreter without site packages, and here with no import that is not
built in or a small extension, as each of json, socket or pathlib would double the time that a start takes.
"""

import _socket
import posix
import time
from select import POLLIN, poll

# `ringipam cni install` writes these two lines anew, with the paths of the installation.
SOCKET = b"/run/ringipam/ringipam.sock"  # @RINGIPAM-SOCKET@
DIRECTORY = b"/var/lib/ringipam/cni"  # @RINGIPAM-CNIDIR@

BODY_SIZE_MAX = 128 * 1024
ANSWER_SIZE_MAX = 1024 * 1024
SOCKET_SIZE_MAX = 107
DIRECTORY_SIZE_MAX = 4095
LONG_S, SHORT_S = 60.0, 10.0
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
VERSION_LETTERS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-+"
TOO_LATE = "it took too long"
ENAMETOOLONG = 36

ABOUT = (
    "ringipam, a CNI IPAM plugin: addresses from the ringipam daemon of this host.\n"
    f"A container runtime starts it. CNI protocol versions supported: {', '.join(VERSIONS)}\n"
)


class NoAnswerError(Exception):
    """The daemon did not answer; the text says why."""


class FailureError(Exception):
    """What the runtime is told instead of an answer: a code of the CNI SPEC ("Error"), and a text."""


# ── input ─────────────────────────────────────────────────────────────────────────────────────────


def remaining_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def environment() -> bytes:
    """Every CNI_* variable, then an empty one."""
    told = [b"%b=%b\0" % item for item in posix.environ.items() if item[0].startswith(b"CNI_")]
    return b"".join(told) + b"\0"


def read_input(parts: list[bytes], room: int, deadline: float) -> None:
    """Standard input whole, into `parts`, which holds what was read if it raises FailureError."""
    ready = poll()
    ready.register(0, POLLIN)
    while room >= 0:
        try:
            part = posix.read(0, room + 1) if ready.poll(remaining_s(deadline) * 1000) else None
        except OSError as error:
            raise FailureError(5, f"cannot read standard input: {error.strerror}") from None
        if part is None:
            raise FailureError(5, f"cannot read standard input: {TOO_LATE}")
        if not part:
            return
        parts.append(part)
        room -= len(part)
    raise FailureError(
        7,
        f"standard input and the CNI_* variables are larger than {BODY_SIZE_MAX} bytes:"
        " make the network configuration smaller",
    )


def version(text: bytes) -> str:
    """The cniVersion that standard input names, without reading JSON any further; 1.1.0 if it names none."""
    _, found, rest = text.partition(b'"cniVersion"')
    rest = rest[:100].lstrip(b" \t\r\n:")
    if found and rest.startswith(b'"'):
        named, quote, _ = rest[1:34].partition(b'"')
        if named and quote and not named.strip(VERSION_LETTERS):
            return named.decode("ascii")
    return "1.1.0"


# ── output ────────────────────────────────────────────────────────────────────────────────────────


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]


def escaped(text: str) -> str:
    """Inside a JSON string: paths may hold anything but zero bytes."""
    return "".join("\\" + one if one in '"\\' else one if " " <= one <= "~" else "?" for one in text)


def shown(path: bytes, size: int) -> str:
    return path[:size].decode("latin-1")


def print_error(code: int, message: str, text: bytes) -> int:
    """On standard output, as runtimes read an error there only."""
    write_all(1, f'{{"cniVersion":"{version(text)}","code":{code},"msg":"{escaped(message)}"}}\n'.encode("ascii"))
    return 1


def print_versions(text: bytes) -> int:
    """The versions that this program can be asked in, if nobody better is there to say it."""
    supported = ",".join(f'"{one}"' for one in VERSIONS)
    write_all(1, f'{{"cniVersion":"{version(text)}","supportedVersions":[{supported}]}}\n'.encode("ascii"))
    return 0


# ── the exchange ──────────────────────────────────────────────────────────────────────────────────


def ask_daemon(place: bytes, body: bytes, deadline: float) -> tuple[int, bytes]:
    """Status and body of the answer; raises NoAnswerError."""
    if len(place) > SOCKET_SIZE_MAX:
        raise NoAnswerError("RINGIPAM_SOCKET is longer than the path of a socket can be")
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connect(connection, place, deadline)
        send_request(connection, body, deadline)
        status, answer = receive_reply(connection, deadline)
        connection.close()
    except TimeoutError:
        raise NoAnswerError(TOO_LATE) from None
    except OSError as error:
        raise NoAnswerError(error.strerror) from None
    if status != 200 and not answer.startswith(b"{"):
        raise NoAnswerError("it turns requests away")  # in words for no runtime: nothing that speaks CNI said it
    return status, answer


def connect(connection: _socket.socket, place: bytes, deadline: float) -> None:
    """A daemon that hangs accepts nobody: waits for room in its queue."""
    while True:
        limit_connection(connection, deadline)
        try:
            return connection.connect(place)
        except BlockingIOError:
            time.sleep(min(0.01, remaining_s(deadline)))


def limit_connection(connection: _socket.socket, deadline: float) -> None:
    """The next operation ends by the deadline; raises TimeoutError if that is over."""
    remaining = remaining_s(deadline)
    if not remaining:
        raise TimeoutError
    connection.settimeout(remaining)


def send_request(connection: _socket.socket, body: bytes, deadline: float) -> None:
    head = (
        b"POST /v1/cni HTTP/1.1\r\nHost: ringipam\r\nConnection: close\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
    )
    limit_connection(connection, deadline)
    try:  # noqa: SIM105  # contextlib takes its time to import
        connection.sendall(head % len(body) + body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # whoever turns a request away may answer before it is sent whole: what came is looked at all the same


def receive_reply(connection: _socket.socket, deadline: float) -> tuple[int, bytes]:
    """An answer that broke off is none: what is announced must have come."""
    received = b""
    while (end := received.find(b"\r\n\r\n") + 4) < 4:
        received += receive_part(connection, len(received), deadline)
    status, length = read_head(received[:end])
    if end + length > ANSWER_SIZE_MAX:
        raise NoAnswerError("the answer is too long")
    while len(received) < end + length:
        received += receive_part(connection, len(received), deadline)
    return status, received[end : end + length]


def receive_part(connection: _socket.socket, size: int, deadline: float) -> bytes:
    if size >= ANSWER_SIZE_MAX:
        raise NoAnswerError("the answer is too long")
    limit_connection(connection, deadline)
    if not (part := connection.recv(min(65536, ANSWER_SIZE_MAX - size))):
        raise NoAnswerError("it broke off")
    return part


def read_head(head: bytes) -> tuple[int, int]:
    """Status and Content-Length (RFC 9110, 8.6); raises NoAnswerError."""
    status = head[9:12]
    if head.startswith(b"HTTP/1.") and head[8:9] == b" " and len(status) == 3 and status.isdigit():
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length" and (value := value.lstrip(b" \t")).isdigit():
                return int(status), int(value[:8])
    raise NoAnswerError("what answers is not ringipam")


# ── tombstones ────────────────────────────────────────────────────────────────────────────────────


def give_to_owner_of(directory: int, fd: int) -> None:
    """The daemon, which may run as another user, is to take out of the directory what is put there."""
    owner = posix.fstat(directory)
    try:  # noqa: SIM105  # likewise
        posix.fchown(fd, owner.st_uid, owner.st_gid)
    except OSError:
        pass  # it is not ours to give


def enter_directory(parent: int, name: bytes) -> int:
    """One directory further, made if it is not there."""
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
    try:
        return posix.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        pass
    try:
        posix.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return posix.open(name, flags, dir_fd=parent)
    made = posix.open(name, flags | posix.O_NOFOLLOW, dir_fd=parent)
    posix.fsync(parent)
    give_to_owner_of(parent, made)
    return made


def open_directory(path: bytes) -> int:
    if len(path) > DIRECTORY_SIZE_MAX:
        raise OSError(ENAMETOOLONG, posix.strerror(ENAMETOOLONG))
    fd = posix.open(b"/" if path.startswith(b"/") else b".", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    for name in path.split(b"/"):
        if name:
            fd = enter_directory(fd, name)
    return fd


def write_tombstone(directory: int, body: bytes) -> None:
    """The request's body as a file in `directory`, on the disk when this returns; raises OSError."""
    name = b"del-%d-%d" % (posix.getpid(), time.time_ns())
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(b"." + name, flags, 0o600, dir_fd=directory)
    give_to_owner_of(directory, fd)
    try:
        write_all(fd, body)
        posix.fsync(fd)
        posix.rename(b"." + name, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        posix.unlink(b"." + name, dir_fd=directory)
        raise
    posix.fsync(directory)


# ── the program ───────────────────────────────────────────────────────────────────────────────────


def unanswered(command: bytes, place: bytes, why: str, body: bytes) -> None:
    """What is left to do without the daemon: a release is kept; raises FailureError."""
    socket = shown(place, SOCKET_SIZE_MAX)
    if command != b"DEL":
        code = 50 if command == b"STATUS" else 11
        raise FailureError(
            code,
            f"no answer from the ringipam daemon at {socket}: {why};"
            " start it on this host, or look at its log, and try again",
        )
    path = posix.environ.get(b"RINGIPAM_CNI_DIR") or DIRECTORY
    try:
        write_tombstone(open_directory(path), body)
    except OSError as error:
        raise FailureError(
            11,
            f"no answer from the ringipam daemon at {socket}: {why};"
            f" nor could the release be kept in {shown(path, DIRECTORY_SIZE_MAX)}: {error.strerror};"
            " mend one of the two, and try again",
        ) from None


def carry_out(command: bytes, text: list[bytes]) -> int:
    """The exit status; raises FailureError. What is read from standard input is put into `text`."""
    # of allocations, of what compares, and of what may release thousands there can be a wait
    deadline = time.monotonic() + (LONG_S if command in (b"ADD", b"CHECK", b"GC") else SHORT_S)
    head = environment()
    read_input(text, BODY_SIZE_MAX - len(head), deadline)
    place = posix.environ.get(b"RINGIPAM_SOCKET") or SOCKET
    body = head + b"".join(text)
    try:
        status, answer = ask_daemon(place, body, deadline)
        if command == b"DEL" and status == 503:
            raise NoAnswerError("it cannot do it now")
    except NoAnswerError as error:
        if command == b"VERSION":
            return print_versions(b"".join(text))
        unanswered(command, place, str(error), body)
        return 0
    write_all(1, answer)
    return 0 if status == 200 else 1


def main() -> int:
    """Carry out what CNI_COMMAND says; the exit status."""
    command = posix.environ.get(b"CNI_COMMAND")
    if not command:
        write_all(2, ABOUT.encode("ascii"))
        return 0
    text: list[bytes] = []
    try:
        return carry_out(command, text)
    except FailureError as failure:
        code, message = failure.args
        return print_error(code, message, b"".join(text))


if __name__ == "__main__":
    try:
        done = main()
    except OSError:
        done = 1  # nobody reads what is printed any more
    posix._exit(done)
