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
    """Ends the processes that were started under a lease when the lease is lost, and lets all further states fail."""

    def __init__(self, path: str) -> None:
        """Be made in the thread that takes the lease: the thread tells whether the run has a process of its own."""
        self._path = path
        # In a minion with ``multiprocessing: False`` the processes of other jobs would be ended as well.
        self._has_process = runs.has_process()
        self._guard: Guard | None = None
        self._turn, self._is_done = threading.Lock(), False

    def guard(self) -> Guard:
        """Count the processes that are started from now on as started under the lease."""
        self._guard = Guard()
        return self._guard

    def __call__(self) -> None:
        """End what runs under the lease. The core calls this from a thread of its own when the lease is lost."""
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
        """Let states run again. To be called when nothing runs under the lease any more."""
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

    When the lease is lost while the function runs, the processes that it has started are ended, and its states fail
    from then on. Raises ``CommandExecutionError`` then, and where the lease was not to be had in time.
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
        # A job that is terminated does not come to the lines below. The end of its process gives the lease back.
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
