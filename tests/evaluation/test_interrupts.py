# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""An interrupt is not lost in a library that swallows it, nor told as another error."""

import contextlib
import signal
import threading

import pytest

from vqdna_hf.evaluation.interrupts import Interrupt


def read_as_pandas_does() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ValueError("cannot be read as a table") from error


def test_what_a_library_makes_of_an_interrupt_is_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt) as raised, Interrupt():
        read_as_pandas_does()
    assert isinstance(raised.value.__cause__, ValueError)


def test_what_a_library_swallows_comes_before_the_next_step() -> None:
    interrupt = Interrupt()
    interrupt.on_step_begin(None, None, None)
    with pytest.raises(KeyboardInterrupt), interrupt, contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupt.on_step_begin(None, None, None)
    with pytest.raises(KeyboardInterrupt):
        interrupt.on_prediction_step(None, None, None)


def test_errors_without_an_interrupt_stay_what_they_are() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="bad file"), Interrupt():
        raise ValueError("bad file")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_keep_their_handling() -> None:
    found = []

    def enter() -> None:
        with Interrupt():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]
