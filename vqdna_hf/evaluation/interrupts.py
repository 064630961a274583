"""An interrupt that is not lost: libraries swallow what is raised within them."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from transformers import TrainerCallback

__all__ = ["Interrupt"]


class Interrupt(TrainerCallback):
    """Ctrl-C raises `KeyboardInterrupt` at once, as ever, and is remembered.

    pandas' parser turns it into an error of the file that it reads, and the fingerprints of `datasets` drop it with a
    warning. So behind a Ctrl-C the block is left by a `KeyboardInterrupt`, whatever happened in it, and as a callback
    this raises one before the next step of training or evaluation. Threads but the main one keep their handling.

    Example:

    >>> import contextlib
    >>> try:
    ...     with Interrupt(), contextlib.suppress(KeyboardInterrupt):  # as a library does
    ...         signal.raise_signal(signal.SIGINT)
    ... except KeyboardInterrupt:
    ...     print("interrupted")
    interrupted
    """

    def __init__(self) -> None:
        self.came = False
        self._previous: Any = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if self.came and (error is None or isinstance(error, Exception)):
            raise KeyboardInterrupt from error

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before each step of training."""
        if self.came:
            raise KeyboardInterrupt

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Behind each batch of an evaluation."""
        self.on_step_begin(args, state, control)
