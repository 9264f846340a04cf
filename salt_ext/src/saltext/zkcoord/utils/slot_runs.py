"""A function that runs while a slot is held."""

import functools
import logging
from collections.abc import Callable

from salt.exceptions import CommandExecutionError
from saltext.zkcoord.utils import runs
from saltext.zkcoord.utils.client import Client
from saltext.zkcoord.utils.terminated import Guard

log = logging.getLogger(__name__)


def under_slot(
    client: Client,
    path: str,
    identifier: object,
    max_concurrency: object,
    timeout: object,
    reason: object,
    name: str,
    function: Callable[[], object],
) -> object:
    """
    Take a slot, call the `function` of that `name`, and give the slot back.

    Raises ``CommandExecutionError`` where no slot was free in time, and where the slot was lost meanwhile.
    """
    slot = client.hold(path, identifier, max_concurrency, timeout, reason=reason)
    if slot is None:
        held = client.held_by(path)
        raise CommandExecutionError(f"no slot at {path} within {timeout} s, {held}; {name} was not called")
    guard = Guard()
    try:
        # A job that is terminated does not come to the lines below. The end of its process gives the slot back.
        runs.at_end(slot, functools.partial(slot.end, name))
        result = function()
    except BaseException:
        if runs.forget(slot) and (loss := slot.end(name)):
            log.error(loss)
        raise
    finally:
        guard.remove()
    if runs.forget(slot) and (loss := slot.end(name)):
        raise CommandExecutionError(loss)
    return result
