"""What the core's errors become in Salt."""

from collections.abc import Iterator
from contextlib import contextmanager

from salt.exceptions import CommandExecutionError, SaltInvocationError
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
    return " ".join(str(err).split())
