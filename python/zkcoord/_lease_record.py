"""The record of a timed lease, and reading and writing it as it is: what leaselocker calls a resource lock."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone

from zkcoord import _core
from zkcoord._call import call
from zkcoord._documented import documented
from zkcoord._lease_calls import check_callable
from zkcoord.connection import settings_for
from zkcoord.errors import ArgumentError, NoNode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from typing_extensions import Self, Unpack
    from zkcoord._types import ConnectionKeywords, Hosts, Scalar
    from zkcoord.connection import Connection

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class LockRecord:
    """The record of a timed lease, for people to look at; frozen. The znode's versions decide who holds the lease.

    Times are aware datetimes, or None. They are from the holder's wall clock, to the microsecond.
    """

    holder_identity: str = ""
    """Who holds the lease; empty: nobody."""
    lease_duration_seconds: int = 0
    """For how long after a renewal it is held, rounded up to whole seconds."""
    acquire_time: datetime | None = None
    """When it was taken."""
    renew_time: datetime | None = None
    """When it was renewed."""
    lease_transitions: int = 0
    """How often it has changed hands."""
    identity: str = ""
    """leaselocker has this field, and never fills it in. It is not written."""
    more: Mapping[str, str] = field(default_factory=dict)
    """The other members of the JSON object, by name, each as JSON text. What zkcoord adds is in ``zkcoord``."""

    def to_json(self) -> str:
        """Return the record as it is stored: JSON with the members ``holderIdentity``, ``leaseDurationSeconds``,
        ``acquireTime``, ``renewTime``, ``leaseTransitions``, and those in `more`.

        Raises:
            ArgumentError: A field is of the wrong type.
        """
        if not isinstance(self.holder_identity, str):
            raise ArgumentError("holder_identity: must be text")
        try:
            times = (_text("acquire_time", self.acquire_time), _text("renew_time", self.renew_time))
            more = [(str(name), str(value)) for name, value in self.more.items()]
            seconds, transitions = int(self.lease_duration_seconds), int(self.lease_transitions)
            return _core.lease_format((self.holder_identity, seconds, *times, transitions, more))
        except ArgumentError:
            raise
        except (TypeError, ValueError, OverflowError, AttributeError) as err:
            raise ArgumentError(f"record: {err}") from None

    @classmethod
    def from_json(cls, data: bytes | str, path: str | None = None) -> Self:
        """Return the record that is stored as `data`. Empty data are those of a lease that nobody has taken yet.

        Args:
            data: The data of a znode.
            path: The znode that the data are from, for the message.

        Raises:
            ArgumentError: The data are no record of a lease.
        """
        holder, seconds, acquired, renewed, transitions, more = _core.lease_parse(path, data)
        return cls(holder, seconds, _time(acquired), _time(renewed), transitions, more=dict(more))

    def to_lease_spec(self) -> dict[str, Any]:
        """Return the record as the ``spec`` of a ``coordination.k8s.io/v1`` Lease, its times as Kubernetes has them."""
        return {
            "holderIdentity": self.holder_identity,
            "leaseDurationSeconds": self.lease_duration_seconds,
            "acquireTime": _text("acquire_time", self.acquire_time),
            "renewTime": _text("renew_time", self.renew_time),
            "leaseTransitions": self.lease_transitions,
        }

    @classmethod
    def from_lease_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Return the record for the ``spec`` of a ``coordination.k8s.io/v1`` Lease.

        Raises:
            ArgumentError: ``spec`` is no mapping.
        """
        if not hasattr(spec, "get"):
            raise ArgumentError("spec: must be a dict such as {'holderIdentity': 'web1', 'leaseDurationSeconds': 60}")
        return cls(
            spec.get("holderIdentity") or "",
            spec.get("leaseDurationSeconds") or 0,
            _moment(spec.get("acquireTime")),
            _moment(spec.get("renewTime")),
            spec.get("leaseTransitions") or 0,
        )


class LeaseLock:
    """The record of one lease, to be read and written as it is. `zkcoord.lease.LeaseLocker` is for holding a lease.

    `update` writes only over the version that this object has read or written last. A call that fails does not change
    which version that is: the program may read again, and write again.
    """

    @documented
    def __init__(
        self,
        path: str,
        identity: Scalar,
        zk_hosts: Hosts | None = None,
        *,
        on_event: Callable[[str], object] | None = None,
        timeout: float | None = None,
        connection: Connection | None = None,
        cancel: _core.Cancel | None = None,
        raise_on_signal: bool = False,
        **keywords: Unpack[ConnectionKeywords],
    ) -> None:
        """Name a lease, and who asks. Nothing is sent.

        Args:
            path: The record's znode, such as ``/leases/prod/migration``. Its last part is the name, which is
                lower-cased, and the one before that the namespace.
            identity: Who asks. It must not be empty: a record without a holder is a free lease.
            on_event: Called by `record_event`.
            timeout: Seconds for each call, as for `zkcoord.znode.set`.
        """
        self._identity = _core.lease_scalar("identity", identity)
        check_callable("on_event", on_event)
        if not self._identity:
            raise ArgumentError("identity: is empty, and a lease that nobody holds is a free one; give a name")
        self._path, self._described = _core.lease_path(path)
        self._settings = settings_for(zk_hosts, connection, keywords)
        self._on_event = on_event
        self._wait = (timeout, cancel, raise_on_signal)
        self._version: int | None = None

    @property
    def identity(self) -> str:
        """Who asks."""
        return self._identity

    @property
    def path(self) -> str:
        """The record's znode, below the chroot."""
        return self._path

    def describe(self) -> str:
        """Return ``namespace/name``: the last two parts of the path."""
        return self._described

    def get(self) -> tuple[LockRecord, bytes]:
        """Read the record, and return it together with the data of its znode.

        Raises:
            NoNode: There is no record yet: `create` it.
            ArgumentError: The znode holds something else.
        """
        found = call(lambda wait: _core.lease_get(self._path, self._settings, wait), *self._wait)
        if found is None:
            raise NoNode(f"{self._path} does not exist", self._path)
        data, version = found
        record = LockRecord.from_json(data, self._path)
        self._version = version
        return record, data

    def create(self, record: LockRecord) -> None:
        """Create the record, with its parents.

        Raises:
            NodeExists: There is a record already.
            ConnectionLost: The record may have been created: read it.
        """
        data = _json(record)
        call(lambda wait: _core.lease_create(self._path, data, self._settings, wait), *self._wait)
        self._version = 0

    def update(self, record: LockRecord) -> None:
        """Write the record over the one that this object has read or written last. Unknown members of that one stay.

        Where the record names the same holder as before, the fencing token stays. Another holder inherits neither the
        token nor the hold, and the holder before has lost the lease. A `LeaseLocker` whose duration is made shorter
        has lost it, too.

        Raises:
            ArgumentError: This object has neither read nor written a record yet; or the znode holds something else now.
            BadVersion: Somebody has written the record since.
            NoNode: Somebody has deleted the record.
            ConnectionLost: The record may have been written: read it.
        """
        version = self._version
        if version is None:
            raise ArgumentError(f"record: {self._path} was not read yet; get or create it before", self._path)
        data = _json(record)
        _, self._version = call(
            lambda wait: _core.lease_update(self._path, data, version, self._settings, wait), *self._wait
        )

    def record_event(self, event: str) -> None:
        """Log what has happened, such as ``became leader``, and call ``on_event`` with it."""
        import logging  # noqa: PLC0415 - it takes long, and is rarely needed

        logging.getLogger("zkcoord").info("%s: %s %s", self._described, self._identity, event)
        if self._on_event is not None:
            self._on_event(event)

    def __repr__(self) -> str:
        """Show which lease, and who asks."""
        return f"<LeaseLock {self._path} as {self._identity!r}>"


def _json(record: LockRecord) -> str:
    if not isinstance(record, LockRecord):
        raise ArgumentError("record: must be a LockRecord")
    return record.to_json()


def _text(name: str, time: datetime | None) -> str | None:
    if time is None:
        return None
    if not isinstance(time, datetime):
        raise ArgumentError(f"{name}: must be a datetime, or None")
    moment = time.astimezone(timezone.utc)
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S.%f}Z"


def _time(text: str | None) -> datetime | None:
    """Return the time that a text says, or None. `datetime` itself reads few notations before Python 3.11."""
    match = _TIME.fullmatch(text or "")
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    micros = (fraction or "").ljust(6, "0")[:6]
    try:
        return datetime.fromisoformat(f"{whole}.{micros}{'+00:00' if zone == 'Z' else zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else _time(value if isinstance(value, str) else None)
