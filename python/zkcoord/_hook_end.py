"""The end of a process as the end of a coordinator's hook, and whether the process has succeeded."""

from __future__ import annotations

import atexit
import builtins
import logging
import os
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Hook(Protocol):
        """A coordinator whose hook ends with the process."""

        def finish(self) -> None:
            """Give back the locks that are granted, because the process has succeeded."""

        def keep(self) -> None:
            """Keep the locks for the retry, and log which they are, because the process has failed."""


# The ids of tools that `sys.monitoring` reserves for no debugger, profiler or other known tool.
_FREE_TOOLS = (3, 4)


class _End:
    """The hooks that end with this process."""

    def __init__(self) -> None:
        self._pid = 0
        self._code: object = None
        self._hooks: list[Hook] = []
        self._is_watching = False

    def register(self, hook: Hook) -> None:
        """Have the hook finished or kept at the end of this process. A forked child does neither for its parent."""
        if self._pid != os.getpid():
            self._pid, self._code, self._hooks = os.getpid(), None, []
            # `atexit` runs the last registration first. The core's own is earlier, and so ends the sessions after this.
            atexit.register(self._at_exit, self._pid)
        if not self._is_watching:
            self._is_watching = True
            if not self._see_what_is_raised():
                self._see_what_is_called()
        if hook not in self._hooks:
            self._hooks.append(hook)

    def _note(self, code: object) -> None:
        """Remember the exit code with which the main thread is leaving. None: with success, or it is not leaving."""
        if threading.current_thread() is threading.main_thread():
            self._code = code

    def _see_what_is_raised(self) -> bool:
        """Watch each ``SystemExit``, and whether it is caught. False: Python cannot report that, as before 3.12."""
        monitoring: Any = getattr(sys, "monitoring", None)
        free = [tool for tool in _FREE_TOOLS if monitoring and monitoring.get_tool(tool) is None]
        if not free:
            return False

        def is_raised(where: object, offset: int, error: BaseException) -> None:
            if isinstance(error, SystemExit):
                self._note(error.code)

        def is_caught(where: object, offset: int, error: BaseException) -> None:
            if isinstance(error, SystemExit):
                self._note(None)

        monitoring.use_tool_id(free[0], "zkcoord")
        events = monitoring.events
        for event, callback in ((events.RAISE, is_raised), (events.RERAISE, is_raised)):
            monitoring.register_callback(free[0], event, callback)
        monitoring.register_callback(free[0], events.EXCEPTION_HANDLED, is_caught)
        monitoring.set_events(free[0], events.RAISE | events.RERAISE | events.EXCEPTION_HANDLED)
        return True

    def _see_what_is_called(self) -> None:
        """Watch calls of ``sys.exit``, ``exit`` and ``quit``, which do not tell whether their exception is caught."""
        leave = sys.exit

        def note(code: Any = None, /) -> None:
            self._note(code)
            leave(code)

        sys.exit = note  # type: ignore[assignment]
        quitter: Any = type(getattr(builtins, "exit", None))
        if quitter.__name__ == "Quitter":
            quits = quitter.__call__

            def quit_(own: Any, code: Any = None) -> None:
                self._note(code)
                quits(own, code)

            quitter.__call__ = quit_

    def _at_exit(self, pid: int) -> None:
        if os.getpid() != pid:
            return
        has_failed = self._code not in (None, 0) or hasattr(sys, "last_type")
        for hook in self._hooks:
            try:
                hook.keep() if has_failed else hook.finish()
            except Exception:
                # An override may raise anything. The other hooks end all the same.
                logging.getLogger("zkcoord").exception("granted locks may be kept, though the process succeeded")


end = _End()
