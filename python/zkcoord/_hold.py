"""A slot that a piece of work holds."""

from __future__ import annotations

from zkcoord._call import call
from zkcoord.errors import (
    ArgumentError,
    Cancelled,
    ConnectionLost,
    Error,
    OutOfResources,
    SlotLost,
    Unreachable,
    no_thread,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeVar

    from typing_extensions import Self
    from zkcoord import _core

    _T = TypeVar("_T")

__all__ = ["Hold"]

# Seconds for a question that this process answers by itself, without a server.
_A_MOMENT = 0.1
# Seconds for a question that would be good to have answered.
_SHORT = 2.0


class Watched:
    """What this process has taken at the servers, and may lose: a slot, or the membership in a party."""

    __slots__ = ("_core", "_lost", "_on_lost", "_raise_on_signal")

    def __init__(
        self, taken: _core.Hold, on_lost: Callable[[], object] | None = None, raise_on_signal: bool = False
    ) -> None:
        """Wrap what the core has taken."""
        self._core = taken
        self._on_lost = on_lost
        self._raise_on_signal = raise_on_signal
        self._lost: threading.Event | None = None
        if on_lost is not None:
            self._loss_event()

    def _loss_event(self) -> threading.Event:
        """The event of the loss. From the first use on, a thread waits for that."""
        if self._lost is None:
            import threading  # noqa: PLC0415 - a program without threads does not need it

            self._lost = threading.Event()
            watch(self._core, self._tell)
        return self._lost

    def _tell(self) -> None:
        assert self._lost is not None
        self._lost.set()
        if self._on_lost is not None:
            self._on_lost()


class Hold(Watched):
    """A slot that is held, until it is released: what `zkcoord.hold` answers with.

    A hold knows its own lease, releases that one and no other, and tells when the lease is lost. As a context manager
    it releases the slot at the end of the block, however the block ends. Where the slot was lost meanwhile, the end of
    the block raises `SlotLost`, unless the block has raised something itself. A child that was forked off in the block
    does not release its parent's hold.
    """

    __slots__ = ()

    @property
    def path(self) -> str:
        """The pool, below the chroot."""
        return self._core.path

    @property
    def identifier(self) -> str:
        """Who holds the slot."""
        return self._core.identifier

    @property
    def token(self) -> int:
        """The fencing token: the zxid that created the lease. Later holders of the pool have greater ones."""
        return self._core.token

    @property
    def lease(self) -> str:
        """The name of the lease's znode below the pool."""
        return self._core.lease

    @property
    def session(self) -> str:
        """The session in which the lease was taken, in hexadecimal."""
        return self._core.session

    @property
    def ephemeral(self) -> bool:
        """Whether the lease ends with that session."""
        return self._core.ephemeral

    @property
    def lost(self) -> threading.Event:
        """An event that is set when the slot is lost: its session has ended, or somebody else has removed the lease.

        `release` does not set it. From the first use of this property on, a thread waits for the loss. While no server
        can be reached, an ephemeral lease counts as held for as long as the servers keep a silent session, and a
        persistent one until a server answers again.
        """
        return self._loss_event()

    def check(self, timeout: float | None = None) -> None:
        """Ask the servers whether the slot is held still.

        Args:
            timeout: Seconds for the answer. At most, and by default, ``connect_timeout``.

        Raises:
            SlotLost: The lease is gone, or was given back.
            Unreachable: No server answered in time. The slot may be held, or lost.
        """
        if self._core.is_released:
            raise SlotLost(f"{self.identifier!r} has given back its slot at {self.path}", self.path)
        if not call(self._core.is_held, timeout, None, self._raise_on_signal):
            raise self._loss(_SHORT if timeout is None else min(timeout, _SHORT))

    def release(self, timeout: float | None = None) -> bool:
        """Give the slot back: delete this hold's lease, and no other. A second release does nothing.

        Args:
            timeout: Seconds for the answer; the call goes on through an outage until then. Default:
                ``connect_timeout``.

        Returns:
            True when the lease was removed, or is gone after an earlier release that failed. False when the slot was
            lost or given back before. True also where the slot counted as lost in this process, and the servers had
            kept its lease all the same: then nobody else has held it.

        Raises:
            Unreachable, ConnectionLost, Cancelled: No server answered in time, or a signal came. The lease is removed
                in the background, as soon as a server answers. The handler of the signal has run, unless the slot was
                taken with ``raise_on_signal``.
            ArgumentError: This process was forked off the one that holds the slot.
        """
        if not self._core.is_own:
            raise ArgumentError("hold: belongs to the process that this one was forked off", self.path)
        if self._core.is_released:
            return False
        return call(self._core.release, timeout, None, self._raise_on_signal)

    def __enter__(self) -> Self:
        """Return the hold."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the slot. Raises `SlotLost` where it was lost, unless the block has raised something already."""
        if not self._core.is_own or self._core.is_released:
            return
        if error is None:
            try:
                was_held = self.release()
            except (Unreachable, ConnectionLost) as err:
                if not self._is_known_lost():
                    raise
                raise self._loss(limit=0) from err  # the block has to learn that it ran without the slot
            if not was_held:
                raise self._loss()
            return
        try:
            # The exception of the block goes on. So a signal that comes now runs its handler, and is not `Cancelled`.
            was_held = call(self._core.release, None, None, False)
        except Error as err:
            _warn("could not give back the slot at %s: %s", self.path, err)
        else:
            if not was_held:
                _warn("%s", self._loss())

    def __repr__(self) -> str:
        """Show whose slot it is, and where."""
        state = ", released" if self._core.is_released else ""
        return f"<Hold of {self.path} for {self.identifier!r}, token {self.token}{state}>"

    def _is_known_lost(self) -> bool:
        """Whether the slot counts as lost by what this process knows, while no server answers."""
        if self._lost is not None and self._lost.is_set():
            return True
        try:
            return not call(self._core.is_held, _A_MOMENT, None, False)
        except Error:
            return False

    def _loss(self, limit: float = _SHORT) -> SlotLost:
        """Return the error, which says why the slot was lost if that can be known within the limit in seconds."""
        try:
            eviction = call(self._core.eviction, limit, None, False) if limit else None
        except Error:
            eviction = None  # why it is lost matters less than that it is
        why = f" {eviction}," if eviction else ""
        message = f"{self.identifier!r} has lost its slot at {self.path}:{why} somebody else may have held it too"
        return SlotLost(message, self.path)


def watch(taken: _core.Hold, on_lost: Callable[[], object]) -> None:
    """Call `on_lost` from a thread of its own when the lease is gone, and was not given back by its holder."""
    import threading  # noqa: PLC0415

    def wait() -> None:
        try:
            call(taken.wait_until_lost, None, None, True)
        except Cancelled:  # the hold was released, or the process ends
            return
        except Error as err:
            _warn("cannot watch the lease at %s any more, and so it counts as lost: %s", taken.path, err)
        on_lost()

    try:
        threading.Thread(target=wait, name="zkcoord-watch", daemon=True).start()
    except RuntimeError as err:
        raise no_thread() from err


def watch_or_release(taken: _core.Hold, watching: Callable[[], _T]) -> _T:
    """Begin to watch a lease. Where no thread can be started for that, give it back: the caller gets no hold of it."""
    try:
        return watching()
    except OutOfResources:
        call(taken.release, _SHORT, None, False)
        raise


def _warn(message: str, *args: object) -> None:
    import logging  # noqa: PLC0415 - it takes long, and is rarely needed

    logging.getLogger("zkcoord").warning(message, *args)
