"""A coordinator, as Salt's functions call it: requests, grants, and what is told of them."""

import functools
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import zkcoord
from salt.exceptions import SaltException
from saltext.zkcoord.utils.client import Client
from saltext.zkcoord.utils.terminal import shown
from zkcoord import grants
from zkcoord.errors import ServerError

log = logging.getLogger(__name__)

_AREA = "zk_coordinator"


class Coordinator:
    """The calls of one Salt function to one coordinator."""

    def __init__(self, client: Client, key: object, root: object) -> None:
        """Take the client, and which coordinator it is."""
        self._client = client
        self._home = {"key": key, "root": root}
        # At the end of a process Salt's loader cannot look anything up any more. So the events are prepared here.
        self._events = client.events(None, "", _AREA)

    def acquire(
        self, lock: object, unit: object, policy: object, timeout: object = None, **asked: object
    ) -> dict[str, Any]:
        """File a request, unless there is one, and decide."""
        answer = self._call("acquire", lock, unit, policy=policy, timeout=timeout, **asked)
        if answer["is_new"]:
            self._tell(lock, unit, "requested", position=answer["position"], reason=asked.get("reason"))
        if answer["other_policy"]:
            log.warning(
                "%s is granted by the policy %s, and another was asked for", shown(lock), answer["other_policy"]
            )
        self._note(lock, answer["effects"])
        return dict(answer)

    def foretell(self, lock: object, unit: object, policy: object, labels: object) -> dict[str, Any]:
        """Tell what `acquire` would answer. Nothing is changed."""
        return dict(self._call("foretell", lock, unit, policy=policy, labels=labels))

    def release(
        self, lock: object, unit: object, request: int | None = None, timeout: object = None, reason: object = None
    ) -> dict[str, Any]:
        """Give a lock back, or withdraw a request."""
        answer = self._call("release", lock, unit, request=request, timeout=timeout)
        if answer["requested"]:
            self._tell(lock, unit, "released" if answer["granted"] else "withdrawn", reason=reason)
        self._note(lock, answer["effects"])
        return dict(answer)

    def revoke(self, lock: object, unit: object, by: object, reason: object, timeout: object = None) -> bool:
        """Take a grant, or a request, away from a unit: an operator's decision."""
        answer = self._call("release", lock, unit, by=by, timeout=timeout)
        if answer["requested"]:
            self._tell(lock, unit, "revoked", by=by, reason=reason)
            log.warning(
                "Revoked %s: %s", "the grant" if answer["granted"] else "the request", _about(lock, unit, reason)
            )
        self._note(lock, answer["effects"])
        return bool(answer["requested"])

    def grant(self, lock: object, unit: object, by: object, reason: object, timeout: object = None) -> bool:
        """Grant a lock whatever the policy says: an operator's decision."""
        is_new = self._call("grant", lock, unit, by=by, reason=reason, timeout=timeout)
        if is_new:
            self._tell(lock, unit, "granted", by=by, reason=reason)
            log.warning("Granted by an operator: %s", _about(lock, unit, reason))
        return bool(is_new)

    def handle(
        self, lock: object = None, by: object = None, timeout: object = None, seen: object = None
    ) -> dict[str, Any]:
        """Decide what is granted now, of one lock or of all, and drop what has expired. The unit `seen` is there."""
        done: dict[str, Any] = {"granted": {}, "dropped": {}}
        broken: list[SaltException] = []
        for each in self.locks(timeout) if lock is None else [lock]:
            try:
                effects = self._call("handle", each, by=by, timeout=timeout, seen=seen)
            except SaltException as err:
                if not isinstance(err.__cause__, ServerError):
                    raise
                broken.append(err)  # raised after the other locks, which it must not hold up
                continue
            self._note(each, effects)
            if effects["granted"]:
                done["granted"][str(each)] = effects["granted"]
            if effects["dropped"]:
                done["dropped"][str(each)] = [dict(dropped) for dropped in effects["dropped"]]
        if broken:
            raise broken[0]
        return done

    def set_policy(self, lock: object, policy: object, by: object, timeout: object = None) -> dict[str, Any]:
        """Change the policy of a lock, and decide by the new one."""
        old = self._call("set_policy", lock, policy, timeout=timeout)
        done = {"old": old, "new": None if old is None else self.queue(lock, timeout)["rule"]}
        self.handle(lock, by, timeout)
        return done

    def queue(self, lock: object, timeout: object = None) -> dict[str, Any]:
        """Tell who is granted a lock, and who waits."""
        return dict(self._call("queue", lock, timeout=timeout))

    def locks(self, timeout: object = None) -> list[str]:
        """List the locks that anybody has asked for."""
        return list(self._call("locks", timeout=timeout))

    def granted(self, unit: object, known: Iterable[int], timeout: float, cancel: zkcoord.Cancel) -> Mapping[str, Any]:
        """Wait until a unit is granted something that is not known yet."""
        return self._call("granted", unit, known, timeout=timeout, cancel=cancel)

    def kept(self, lock: object, unit: object) -> None:
        """Tell the event bus that a run has failed, so that its grant is kept for the next run."""
        self._tell(lock, unit, "kept")

    def _call(self, function: str, *args: object, **kwargs: object) -> Any:
        with self._client.errors():
            return getattr(grants, function)(*args, **kwargs, **self._home, **self._keywords)

    @functools.cached_property
    def _keywords(self) -> dict[str, Any]:
        return self._client.keywords

    def _note(self, lock: object, effects: Mapping[str, Any]) -> None:
        for unit in effects["granted"]:
            self._tell(lock, unit, "granted")
        for dropped in effects["dropped"]:
            what = "grant" if dropped["granted"] else "request"
            unseen = f"not seen since {dropped['seen']}, and it expires after {dropped['expires']:g} s"
            log.warning("Dropped the %s of %s, %s", what, _about(lock, dropped["unit"]), unseen)
            self._tell(lock, dropped["unit"], "dropped", reason=unseen)

    def _tell(self, lock: object, unit: object, kind: str, **about: object) -> None:
        path = f"{str(self._home['root']).rstrip('/')}/{self._home['key']}/{lock}"
        self._events.tell(kind, path=path, identifier=str(unit), lock=str(lock), **about)


def labels(policy: object, given: object, grains: Mapping[str, Any]) -> object:
    """Return the labels of a request: those given, and the grains with the names that the policy counts by.

    A value of a wrong type is returned as it is: the core refuses it, and says why.
    """
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        found: dict[str, Any] = {name: grains[name] for name in given if name in grains}
    elif isinstance(given, Mapping) or given is None:
        found = dict(given or {})
    else:
        return given
    per = policy.get("per") if isinstance(policy, Mapping) else None
    for name in [per] if isinstance(per, str) else per if isinstance(per, Mapping) else ():
        if name not in found and isinstance(grains.get(name), str | int | float):
            found[name] = grains[name]
    return found


def ordinal(number: int) -> str:
    """Return ``1st``, ``2nd``, ``11th``."""
    teens, tens = range(11, 14), number % 100
    suffix = "th" if tens in teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def standing(queue: Mapping[str, Any], position: int) -> str:
    """Tell where a request stands: ``queued 3rd of 5, held by web1 since 12:04``."""
    where = f"queued {ordinal(position)} of {max(len(queue['waiters']), position)}"
    held = [f"{shown(it['unit'])} since {str(it['granted'])[11:16]}" for it in queue["holders"]]
    more = f" and {len(held) - 3} more" if len(held) > 3 else ""
    by = f", held by {', '.join(held[:3])}{more}" if held else ""
    opens = f", may be granted from {queue['opens']} on" if queue.get("opens") else ""
    mine = queue["waiters"][position - 1] if position <= len(queue["waiters"]) else {}
    never = f"; it can never be granted: {mine['hopeless']}" if mine.get("hopeless") else ""
    return f"{where}{by}{opens}{never}"


def _about(lock: object, unit: object, reason: object = None) -> str:
    because = f", because: {' '.join(str(reason).split())}" if reason else ""
    return f"{shown(lock)}, {shown(unit)}{because}"
