"""A function that runs under a timed lease."""

import functools
import logging
from collections.abc import Callable

from salt.exceptions import CommandExecutionError
from saltext.zkcoord.utils import runs
from saltext.zkcoord.utils.lease_client import LeaseClient
from saltext.zkcoord.utils.terminated import Guard

log = logging.getLogger(__name__)


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

    When the lease is lost meanwhile, what the function has started is ended. Raises ``CommandExecutionError`` then, and
    where there was no lease in time.
    """
    guards: list[Guard] = []
    held = client.locker(path, owner, duration, max_clock_skew, lambda: [guard.end_started() for guard in guards])
    if not held.lock(timeout):
        who = client.held_by(path)
        raise CommandExecutionError(f"no lease {path} within {timeout} s, {who}; {name} was not called")
    guard = Guard()
    guards.append(guard)
    try:
        # At the end of the process as well: a job that is terminated comes to no other end.
        runs.at_end(held, functools.partial(held.end, name))
        result = function()
    except BaseException:
        if runs.forget(held) and (loss := held.end(name)):
            log.error(loss)
        raise
    finally:
        guard.remove()
    if runs.forget(held) and (loss := held.end(name)):
        raise CommandExecutionError(loss)
    return result
