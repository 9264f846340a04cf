"""The end of a process that is the end of a coordinator's hook: was it a good one?"""

from __future__ import annotations

import atexit
import logging
import os
import sys

from zkcoord.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Hook(Protocol):
        """What is finished, or keeps what it was granted."""

        def finish(self) -> None:
            """Give back what is granted."""

        def keep(self) -> None:
            """Tell what is kept for the retry."""


class _End:
    """The hooks that end with this process."""

    def __init__(self) -> None:
        self._pid = 0
        self._code: object = None
        self._hooks: list[Hook] = []

    def register(self, hook: Hook) -> None:
        """Have the hook finished at the end of this process. A child that is forked has no part in it."""
        if self._pid != os.getpid():
            self._pid, self._code, self._hooks = os.getpid(), None, []
            # After the core's own, which ends its sessions: the last to register is the first to run.
            atexit.register(self._at_exit, self._pid)
            leave = sys.exit

            def note(code: Any = None, /) -> None:
                self._code = code
                leave(code)

            sys.exit = note  # type: ignore[assignment]
        if hook not in self._hooks:
            self._hooks.append(hook)

    def _at_exit(self, pid: int) -> None:
        if os.getpid() != pid:
            return
        has_failed = self._code not in (None, 0) or hasattr(sys, "last_type")
        for hook in self._hooks:
            try:
                hook.keep() if has_failed else hook.finish()
            except Error as err:
                logging.getLogger("zkcoord").warning("what was granted is kept, though the process succeeded: %s", err)


end = _End()
