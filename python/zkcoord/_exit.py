"""End the sessions of a process with the process, so that ephemeral znodes do not linger.

No single hook runs at the end of every process. A forked worker (multiprocessing, a Salt job) ends in
``os._exit``, where ``atexit`` does not run and ``multiprocessing.util.Finalize`` does; a Salt job that is
terminated runs only what was given to its process's ``register_finalize_method``; a plain interpreter runs
``atexit``; and a thread that waits keeps an interpreter from ever coming that far, so that waits have to end
when ``threading`` shuts down. Each hook remembers its process id: a fork inherits them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable


def register(finish: Callable[[bool], None]) -> None:
    """Have `finish` called at the end of this process: with True to close its sessions as well."""
    pid = os.getpid()

    def at_end() -> None:
        if os.getpid() == pid:
            finish(not _others_work())

    def at_once() -> None:
        if os.getpid() == pid:
            finish(True)

    atexit.register(at_end)
    with contextlib.suppress(AttributeError, RuntimeError):  # private, or shutting down already
        threading._register_atexit(at_end)  # type: ignore[attr-defined]
    if "multiprocessing.process" in sys.modules:
        from multiprocessing import process, util  # noqa: PLC0415 - only where it is loaded anyway

        util.Finalize(None, at_end, exitpriority=0)
        with contextlib.suppress(AttributeError):  # Salt's processes have it
            process.current_process().register_finalize_method(at_once)


def _others_work() -> bool:
    """Whether threads are left that the interpreter waits for: they may still hold a lease."""
    own = (threading.main_thread(), threading.current_thread())
    return any(not thread.daemon for thread in threading.enumerate() if thread not in own)
