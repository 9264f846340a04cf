"""
The end of a state run, which is the end of its process.

Salt tells nobody that a run is over. The run's process ends soon after, though: that of a minion's job, of
``salt-call`` or of ``salt-run``. So what is to be done at the end of the run is registered with every hook that is
called at the end of a process. No single hook would do: a job leaves by ``os._exit``, and a job that is terminated
leaves by the signal's handler.
"""

import concurrent.futures.thread  # noqa: F401 - see `_End.register`
import logging
import multiprocessing.process
import multiprocessing.util
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any

import salt.state

log = logging.getLogger(__name__)


class _Unfinished(int):
    """An exit code that no run sets. Whoever reads it finds 0, and Salt replaces it once the run is over."""


class Run:
    """The run that a state is part of."""

    def __init__(self, context: Any) -> None:
        """Take the ``__context__`` of a state module while one of its functions is called."""
        # This context is a copy. Salt puts the exit code of the run into that of the function that was called first.
        loader, outermost = context.loader(), None
        while loader is not None:
            outermost = loader if loader.tag == "module" else outermost
            loader = loader.parent_loader
        self._context = {} if outermost is None else outermost.pack["__context__"]
        if not isinstance(self._context.get("retcode"), _Unfinished):
            self._context["retcode"] = _Unfinished()

    @property
    def ended_well(self) -> bool:
        """Whether the run is over, and no state failed."""
        code = self._context.get("retcode")
        return not isinstance(code, _Unfinished) and code == 0


def job() -> str | None:
    """The id of the job that this state run is; None where there is none, or no run."""
    with suppress(Exception):  # the callers go on without an id
        active = salt.state.HighState.get_active()
        return active.state.jid or None if active is not None else None
    return None


def stop(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Let none of the states after this one be run, where Salt can do that: somebody wants the run to end."""
    with suppress(Exception):  # the state has failed in any case
        if jid := job():
            functions["state.soft_kill"](jid)


_verify_data = salt.state.State.verify_data


def refuse(why: str) -> None:
    """
    Let each state of this process fail before it does anything, until `refuse_no_more`. For a process of one job only.

    `stop` would not do. It needs the id of the job, which a run within another function does not have. And Salt counts
    the states that `stop` leaves out as success.
    """
    salt.state.State.verify_data = lambda _state, _low: [why]


def refuse_no_more() -> None:
    """End what `refuse` began."""
    salt.state.State.verify_data = _verify_data


def has_process() -> bool:
    """Whether the run has a process of its own. With ``multiprocessing: False`` it is one of the minion's threads."""
    return threading.current_thread() is threading.main_thread()


class _End:
    """The tasks for the end of this process. A child that is forked meanwhile inherits them, and does not run them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.tasks: dict[Hashable, Callable[[], object]] = {}

    def register(self) -> None:
        """Register with all hooks. The core must have registered its own before, which close its sessions."""
        # Hooks that are registered last are called first, and so are those with the highest priority. So the tasks run
        # while the core's sessions are open. The core registers a second time once it finds the executors' module. The
        # import above lets the core find it the first time: after a later one the sessions would be closed first.
        with suppress(AttributeError, RuntimeError):  # the hook is private, or Python is shutting down already
            threading._register_atexit(self)
        multiprocessing.util.Finalize(None, self, exitpriority=10)
        process = multiprocessing.process.current_process()
        with suppress(AttributeError):  # only Salt's processes have these, and they call the first one first
            process.register_finalize_method(self)
            process._finalize_methods.insert(0, process._finalize_methods.pop())

    def __call__(self) -> None:
        while self.pid == os.getpid() and self.tasks:
            key, task = self.tasks.popitem()
            try:
                task()
            except Exception:
                log.exception("At the end of the run, for %s", key)


_end: _End | None = None


def at_end(key: Hashable, task: Callable[[], object]) -> None:
    """
    Have `task` called at the end of this process, while the core's sessions are still open.

    Of several tasks for one `key` only the first is called. The task that was registered last is called first. The core
    has to be in use already.
    """
    global _end  # noqa: PLW0603 - one for each process
    if _end is None or _end.pid != os.getpid():
        _end = _End()
        _end.register()
    _end.tasks.setdefault(key, task)


def is_due(key: Hashable) -> bool:
    """Whether something is to be done for `key` at the end of this process."""
    return _end is not None and _end.pid == os.getpid() and key in _end.tasks


def task(key: Hashable) -> Any:
    """What is to be done for `key` at the end of this process; ``None``: nothing."""
    return None if _end is None or _end.pid != os.getpid() else _end.tasks.get(key)


def forget(key: Hashable) -> Callable[[], object] | None:
    """Have nothing done for `key` at the end of this process. What would have been done is returned."""
    return None if _end is None or _end.pid != os.getpid() else _end.tasks.pop(key, None)
