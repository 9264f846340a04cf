"""What becomes of a contender, told on Salt's event bus."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from salt.utils.data import is_true
from saltext.zkcoord.utils.config import Configuration

log = logging.getLogger(__name__)

# Seconds for an event from `salt-call`, which sends it straight to the master, and would wait for minutes where the
# master is gone. A job hands its events to its minion, and a runner to its master, at once.
_PATIENCE = 2


class Events:
    """
    The events of one contender.

    They are ``zk_concurrency/<id>/<kind>`` for a slot, with ``path`` and ``identifier``; ``zk_lease/<id>/<kind>`` for a
    timed lease, with ``path`` and ``owner``; and ``zk_coordinator/<id>/<kind>`` for a coordinator's lock, with ``path``
    and ``identifier``. ``<id>`` is that of the minion or master that acts.

    No event is sent with ``zookeeper:events: False``, with ``zookeeper:PROFILE:events: False``, and where there is no
    master to send it to. An event that cannot be sent is a line in the debug log, and nothing else.
    """

    _master_is_gone = False

    def __init__(
        self,
        salt: Mapping[str, Callable[..., Any]],
        opts: Mapping[str, Any],
        configuration: Configuration,
        path: object,
        identifier: object = None,
        profile: object = None,
        system: str = "zk_concurrency",
        who: str = "identifier",
    ) -> None:
        """Take what the calling module has: functions, options, configuration. The clock for ``waited`` starts now."""
        self._began = time.monotonic()
        self._reported: int | None = None
        self._about = {"path": path, who: text_of(identifier)}
        self._send = salt.get("event.send") if _has_bus(opts) and _are_wanted(configuration, profile) else None
        if self._send is not None:  # only then: Salt's options are slow to answer
            self._prefix = f"{system}/{opts.get('id')}"
            self._is_remote = opts.get("__cli") == "salt-call"

    def tell(self, kind: str, **about: object) -> None:
        """Send an event. What is ``None`` is left out."""
        if self._send is None or Events._master_is_gone:
            return
        data = {**self._about, **{key: value for key, value in about.items() if value is not None}}
        arguments = (self._send, f"{self._prefix}/{kind}", data)
        if not self._is_remote:
            _send(*arguments)
            return
        sender = threading.Thread(target=_send, args=arguments, daemon=True)
        sender.start()
        sender.join(_PATIENCE)
        Events._master_is_gone = sender.is_alive()

    @property
    def waited(self) -> float:
        """Seconds since this object was made, when the wait began."""
        return round(time.monotonic() - self._began, 3)

    @property
    def on_position(self) -> Callable[[int], None] | None:
        """What the core is to call with the position in the queue; ``None`` spares it the counting."""
        return None if self._send is None else self._waits

    def _waits(self, position: int) -> None:
        if position == self._reported:
            return
        self._reported = position
        self.tell("waiting", position=position, waited=self.waited)


def text_of(identifier: object) -> str:
    """Return the identifier that a lease gets in the end: the host's name where none is given."""
    return socket.gethostname() if identifier in (None, "") else str(identifier)


def _send(send: Callable[..., Any], tag: str, data: Mapping[str, object]) -> None:
    try:
        send(tag, data)
    except Exception as err:  # whatever it is: the slot matters more than the event
        log.debug("Could not send %s: %s", tag, err)


def _are_wanted(configuration: Configuration, profile: object) -> bool:
    wanted = configuration.get("events", True)
    return is_true(wanted if profile in (None, "") else configuration.get("events", wanted, profile))


def _has_bus(opts: Mapping[str, Any]) -> bool:
    """Whether there is a master's bus. Salt would warn of every event that it cannot send."""
    if opts.get("__role") == "master":
        return True
    local = opts.get("file_client") == "local" or opts.get("local") or opts.get("master_type") == "disable"
    return not local or bool(opts.get("use_master_when_local"))
