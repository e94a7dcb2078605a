"""The API beyond loopback, from another host: nobody without a token or a certificate, and everybody with one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import RINGIPAM, Host, Lab, until

pytestmark = pytest.mark.root

TOKEN = "a-token-of-the-lab"


def secret(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def from_host(host: Host, *command: str) -> tuple[int, str]:
    """Exit status and output of a command of ringipam that is run on `host`."""
    run = ("ip", "netns", "exec", host.namespace, *RINGIPAM, *command)
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_another_host_uses_the_api_with_the_token_and_not_without_and_the_token_changes_under_it(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    served, client = make_lab(2).hosts
    token, shown = secret(tmp_path / "token", TOKEN), secret(tmp_path / "shown", TOKEN)
    served.launch("--http", f"{served.address}:6784", "--http-token-file", str(token))
    where = ("--socket", f"http://{served.address}:6784")

    assert "unencrypted" in str(served.json("status")["warnings"])
    assert from_host(client, "allocate", "c1", *where, "--token-file", str(shown)) == (0, "10.32.0.1/12\n")
    status, said = from_host(client, "release", "c1", *where)
    assert (status, "asks for a token" in said) == (1, True)

    secret(tmp_path / "fresh", "the-token-after-it-" + TOKEN).replace(token)
    until("the token is replaced", lambda: "the credentials of --http changed and are in use" in served.log)
    assert from_host(client, "release", "c1", *where, "--token-file", str(shown))[0] == 1
    assert from_host(client, "release", "c1", *where, "--token-file", str(token))[0] == 0


def test_another_host_uses_the_api_with_a_certificate_and_not_without(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    served, client = make_lab(2).hosts

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    request = ("req", "-newkey", "ed25519", "-noenc")
    openssl(*request, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=the API's")
    (tmp_path / "names").write_text(f"subjectAltName=IP:{served.address}\n")
    for name in ("daemon", "client"):
        openssl(*request, "-keyout", f"{name}.key", "-out", "r.csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", "r.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "100", "-extfile", "names", "-out", f"{name}.pem"),
        )
    files = {name: str(tmp_path / name) for name in ("ca.pem", "daemon.pem", "daemon.key", "client.pem", "client.key")}
    served.launch(
        *("--http", f"{served.address}:6784", "--http-ca", files["ca.pem"]),
        *("--http-cert", files["daemon.pem"], "--http-key", files["daemon.key"]),
    )
    where = ("--socket", f"https://{served.address}:6784", "--ca", files["ca.pem"])

    mine = ("--cert", files["client.pem"], "--key", files["client.key"])
    assert from_host(client, "allocate", "c1", *where, *mine) == (0, "10.32.0.1/12\n")
    assert from_host(client, "allocate", "c2", *where)[0] == 3
    assert [lease["id"] for lease in served.json("list")["leases"]] == ["c1"]
