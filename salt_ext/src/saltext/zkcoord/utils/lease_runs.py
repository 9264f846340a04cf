"""A function that runs under a timed lease."""

import functools
import logging
import threading
from collections.abc import Callable

from salt.exceptions import CommandExecutionError
from saltext.zkcoord.utils import runs
from saltext.zkcoord.utils.lease_client import LeaseClient
from saltext.zkcoord.utils.terminated import Guard

log = logging.getLogger(__name__)


class Loss:
    """What is done when a lease is lost while something runs under it: that is ended, and no more of it begins."""

    def __init__(self, path: str) -> None:
        """Be made in the thread that takes the lease."""
        self._path = path
        # A minion with ``multiprocessing: False`` has started what its other jobs have started.
        self._has_process = runs.has_process()
        self._guard: Guard | None = None
        self._turn, self._is_done = threading.Lock(), False

    def guard(self) -> Guard:
        """Count what is started from now on as started under the lease."""
        self._guard = Guard()
        return self._guard

    def __call__(self) -> None:
        """Be called, from a thread of its own, when the lease is lost."""
        if not self._has_process:
            return
        with self._turn:
            if self._is_done:
                return
            # The states first: the end of a command lets the next state begin.
            runs.refuse(f"not run: the lease {self._path} was lost")
        if self._guard is not None:
            self._guard.end_started()

    def over(self) -> None:
        """Be called when nothing runs under the lease any more."""
        with self._turn:
            self._is_done = True
            runs.refuse_no_more()


def under_lease(
    client: LeaseClient,
    path: str,
    owner: object,
    duration: object,
    timeout: object,
    max_clock_skew: object,
    name: str,
    function: Callable[[], object],
) -> object:
    """
    Take the lease, call the `function` of that `name`, and give the lease back.

    When the lease is lost meanwhile, what the function has started is ended, and its states fail from then on.
    Raises ``CommandExecutionError`` then, and where there was no lease in time.
    """
    loss_of_it = Loss(path)
    held = client.locker(path, owner, duration, max_clock_skew, loss_of_it)
    if not held.lock(timeout):
        who = client.held_by(path)
        raise CommandExecutionError(f"no lease {path} within {timeout} s, {who}; {name} was not called")
    guard = loss_of_it.guard()
    try:
        if held.token is None:
            raise CommandExecutionError(f"the lease {path} was lost as soon as it was taken; {name} was not called")
        # At the end of the process as well: a job that is terminated comes to no other end.
        runs.at_end(held, functools.partial(held.end, name))
        result = function()
    except BaseException:
        if runs.forget(held) and (loss := held.end(name)):
            log.error(loss)
        raise
    finally:
        guard.remove()
        loss_of_it.over()
    if runs.forget(held) and (loss := held.end(name)):
        raise CommandExecutionError(loss)
    return result
