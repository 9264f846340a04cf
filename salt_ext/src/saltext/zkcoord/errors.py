"""What the core's errors become in Salt."""

from collections.abc import Iterator
from contextlib import contextmanager

from salt.exceptions import CommandExecutionError, NotImplemented, SaltException, SaltInvocationError
from zkcoord.errors import ArgumentError, Error


@contextmanager
def salt_errors() -> Iterator[None]:
    """Turn errors of the core into those that Salt reports as one line. The original is chained as ``__cause__``."""
    try:
        yield
    except Error as err:
        raise salt_error(err) from err


def salt_error(err: Error) -> SaltException:
    """``SaltInvocationError`` for an ``ArgumentError``, ``CommandExecutionError`` for any other."""
    kind = SaltInvocationError if isinstance(err, ArgumentError) else CommandExecutionError
    return kind(" ".join(str(err).split()))


class RunnerError(NotImplemented, CommandExecutionError):
    """
    An error of a runner function, in one line.

    Of any other exception than a ``salt.exceptions.NotImplemented`` Salt shows the traceback.
    """


@contextmanager
def runner_errors() -> Iterator[None]:
    """Turn what ``salt_errors`` raises into what ``salt-run`` reports as one line, with the exit code 1."""
    try:
        yield
    except (CommandExecutionError, SaltInvocationError) as err:
        raise RunnerError(str(err)) from err
