"""A second Ctrl-C: waited for where somebody looks on, and nowhere else."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from compressc import watching
from compressc.watching import is_pressed_again


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "is_watched", lambda: True)
    monkeypatch.setattr(watching, "_WAITS_SECONDS", 3.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_key_is_seen_and_the_offer_told(capsys, terminal) -> None:
    key = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    key.start()
    started = time.monotonic()
    assert is_pressed_again("keeps what there is")
    key.join()
    assert time.monotonic() - started < 3.0
    assert "Ctrl-C again within 3 s keeps what there is" in capsys.readouterr().err


def test_no_second_key(terminal, monkeypatch) -> None:
    monkeypatch.setattr(watching, "_WAITS_SECONDS", 0.05)
    assert not is_pressed_again("keeps what there is")


def test_nobody_is_asked_who_does_not_look_on(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    started = time.monotonic()
    assert not is_pressed_again("keeps what there is")
    assert time.monotonic() - started < 1.0
    assert capsys.readouterr().err == ""
