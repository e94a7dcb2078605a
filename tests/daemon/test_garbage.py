"""The collector does not look at what a daemon began with, and finds it once the daemon has begun anew."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

from ringipam.daemon import ThawingStore

LAUNCHED = """
import gc, os, signal, sys, threading, time
from ringipam.cli import main

def look():
    end = time.monotonic() + 30
    while not (gc.isenabled() and gc.get_freeze_count()) and time.monotonic() < end:
        time.sleep(0.01)
    print("collecting:", gc.isenabled(), "left out:", gc.get_freeze_count() > 10_000)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=look).start()
sys.exit(main(sys.argv[1:]))
"""


def test_a_daemon_that_has_begun_collects_garbage_but_for_what_it_began_with(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"), "--socket", str(tmp_path / "s"), "--listen", "127.0.0.1:0")
    command = [sys.executable, "-c", LAUNCHED, "launch", "--iprange", "10.0.0.0/16", "--name", "h1", *where]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    assert "collecting: True left out: True" in done.stdout


def test_who_loads_again_leaves_nothing_out_any_more(tmp_path: Path) -> None:
    store = ThawingStore.open(tmp_path / "data", 4)
    gc.freeze()
    try:
        store.load()
        left_out = gc.get_freeze_count()
    finally:
        gc.unfreeze()
        store.close()

    assert left_out == 0
