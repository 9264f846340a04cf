"""What the core's errors become in Salt."""

from collections.abc import Iterator
from contextlib import contextmanager

from salt.exceptions import CommandExecutionError, NotImplemented, SaltInvocationError
from saltext.zkcoord.utils.terminal import shown
from zkcoord.errors import ArgumentError, Error


@contextmanager
def salt_errors() -> Iterator[None]:
    """
    Turn errors of the core into those that Salt reports as one line.

    ``ArgumentError`` becomes ``SaltInvocationError``, any other ``zkcoord.errors.Error`` becomes
    ``CommandExecutionError``. The original is chained as ``__cause__``.
    """
    try:
        yield
    except ArgumentError as err:
        raise SaltInvocationError(_one_line(err)) from err
    except Error as err:
        raise CommandExecutionError(_one_line(err)) from err


def _one_line(err: Error) -> str:
    return shown(" ".join(str(err).split()))


class RunnerError(NotImplemented, CommandExecutionError):
    """
    An error of a runner function, in one line.

    It is a ``salt.exceptions.NotImplemented``, because ``salt-run`` shows a traceback of every other exception.
    """


@contextmanager
def runner_errors() -> Iterator[None]:
    """Turn what ``salt_errors`` raises into what ``salt-run`` reports as one line, with the exit code 1."""
    try:
        yield
    except (CommandExecutionError, SaltInvocationError) as err:
        raise RunnerError(str(err)) from err
