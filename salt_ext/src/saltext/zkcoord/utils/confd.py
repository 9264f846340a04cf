"""Ganeti's confd, as Salt's functions ask it: the configuration, errors in one line, answers that Salt can send."""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import IntEnum
from typing import Any

from salt.exceptions import SaltInvocationError
from salt.utils.data import is_true
from saltext.zkcoord.utils.config import Configuration
from saltext.zkcoord.utils.errors import runner_errors, salt_errors
from saltext.zkcoord.utils.terminal import shown
from zkcoord import confd
from zkcoord.errors import UnknownEntry

ROOT = "ganeti_confd"
_ASKED = ("peers", "port", "coverage", "timeout")
# `grains`, `grains_ttl` and `node` are for the grains and the beacon, which share the section.
_KNOWN = frozenset((*_ASKED, "hmac_key", "hmac_key_file", "node", "grains", "grains_ttl"))
_DIGITS = re.compile(r"[0-9a-fA-F]{40}")


class Asker:
    """The questions of one Salt function, which share the configuration."""

    def __init__(self, configuration: Configuration, profile: object = None, **options: object) -> None:
        """Take the configuration, and what was given beside it: ``coverage``, ``replies``, ``timeout`` and the like."""
        self._configuration, self._profile = configuration, profile
        self._options = {name: value for name, value in options.items() if value is not None}

    def call(self, function: str, *args: object, **kwargs: object) -> Any:
        """Ask by a function of ``zkcoord.confd``, and return its answer in the types that Salt can send."""
        with self.errors():
            keywords = {**self._keywords(), **_trust(self._options), **kwargs}
            return plain(getattr(confd, function)(*args, **keywords))

    def query(self, kind: object, question: object, **kwargs: object) -> confd.Answer:
        """Ask, and return whatever has come, whether it can be trusted or not."""
        with self.errors():
            return confd.query(kind, question, **{**self._keywords(), **kwargs})

    def trusted(self, kind: object, question: object, **kwargs: object) -> confd.Answer:
        """Ask, and return the answer if it can be trusted; so can the answer that there is no such entry."""
        with self.errors():
            answer = confd.query(kind, question, **{**self._keywords(), **kwargs})
            with suppress(UnknownEntry):
                answer.result(**_trust(self._options))
            return answer

    def master(self, fields: object) -> Any:
        """Ask who the master is, or for fields of it that are given by name or by number."""
        with self.errors():
            wanted = _fields(fields)
        return self.call("cluster_master", wanted)

    def everything(self, kind: object, question: object, secrets: object) -> dict[str, Any]:
        """Ask any question, and return what each candidate has replied."""
        return as_dict(self.trusted(kind, question, secrets=secrets))

    def errors(self) -> AbstractContextManager[None]:
        """Turn errors of the core into those of Salt."""
        return salt_errors()

    def _keywords(self) -> dict[str, Any]:
        """The arguments of a question: what was given, and under that what is configured."""
        settings = settings_of(self._configuration, self._profile)
        own = {name: value for name, value in self._options.items() if not name.startswith("require_")}
        return {**settings, **own, "raise_on_signal": True}


class MasterAsker(Asker):
    """The questions of one runner function, with errors that ``salt-run`` shows in one line."""

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the core into those of a runner."""
        with runner_errors(), super().errors():
            yield


def settings_of(configuration: Configuration, profile: object = None) -> dict[str, Any]:
    """
    Return the arguments of a question that are configured: the peers, the key, and the others.

    Raises ``SaltInvocationError`` for a profile that configures nothing, for a setting that is not known, and for a key
    that is not text.
    """
    section = configuration.section(profile)
    part = section
    if profile not in (None, ""):
        found = section.get(str(profile))
        names = sorted(name for name, value in section.items() if isinstance(value, Mapping) and value)
        if not isinstance(found, Mapping) or not found:
            there = f"profiles there: {', '.join(map(shown, names))}" if names else "there are no profiles"
            raise SaltInvocationError(
                f"profile: {shown(profile)} configures nothing in the section {ROOT} of {section.where}; {there}"
            )
        part = found
    unknown = sorted(str(name) for name, value in part.items() if name not in _KNOWN and not isinstance(value, Mapping))
    if unknown:
        known = ", ".join(sorted(_KNOWN))
        raise SaltInvocationError(f"{shown(unknown[0])}: is not known in the section {ROOT}; known are {known}")
    settings = {name: part[name] for name in _ASKED if part.get(name) not in (None, "", [])}
    key = part.get("hmac_key")
    if key not in (None, ""):
        settings["hmac_key"] = _key(key)
    elif file := part.get("hmac_key_file"):
        with salt_errors():
            settings["hmac_key"] = confd.hmac_key(file)
    return settings


def _key(key: object) -> bytes:
    """Return the key in a configuration, with the newline that YAML has taken away. A number is an error."""
    if not isinstance(key, str):
        raise SaltInvocationError("hmac_key: must be text in the configuration: put it in quotes")
    return f"{key}\n".encode() if _DIGITS.fullmatch(key) else key.encode()


def _trust(options: Mapping[str, object]) -> dict[str, bool]:
    return {name: is_true(value) for name, value in options.items() if name.startswith("require_")}


def plain(value: Any) -> Any:
    """Return an answer in the types that Salt sends: names for enums, dicts for tuples with names."""
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def as_dict(answer: confd.Answer) -> dict[str, Any]:
    """Return an answer as a dict, with what each peer has replied."""
    names = ("type", "answer", "status", "serial", "consistent", "asked", "replied", "answered", "needed", "timed_out")
    replies = ("status", "answer", "serial", "latency", "trouble")
    by_peer = {
        peer: {name: getattr(reply, name) for name in replies if getattr(reply, name) is not None}
        for peer, reply in answer.by_peer.items()
    }
    discarded = {"discarded": [list(each) for each in answer.discarded]} if answer.discarded else {}
    return {**{name: getattr(answer, name) for name in names}, "by_peer": by_peer, **discarded}


def _fields(fields: object) -> list[confd.MasterField] | None:
    """Return the fields of the master, which are given by name or by number."""
    if fields is None:
        return None
    names = fields.split(",") if isinstance(fields, str) else fields
    try:
        return [_field(name) for name in names]
    except (KeyError, TypeError, ValueError) as err:
        known = ", ".join(field.name.lower() for field in confd.MasterField)
        raise SaltInvocationError(f"fields: must be a list of {known}") from err


def _field(name: object) -> confd.MasterField:
    if isinstance(name, str) and not name.strip().isdigit():
        return confd.MasterField[name.strip().upper()]
    return confd.MasterField(int(name))


def table_of(answer: confd.Answer) -> dict[str, Any]:
    """Return who is the master by each candidate, and how new that answer is."""
    best = answer.answer if answer.ok else None
    return {
        "serial": answer.serial if answer.ok else None,
        "master": best,
        "consistent": answer.consistent,
        "peers": {peer: _row(peer, reply, answer) for peer, reply in answer.by_peer.items()},
    }


def _row(peer: str, reply: confd.PeerReply, best: confd.Answer) -> dict[str, Any]:
    if reply.status is None:
        reasons = [reply.trouble] if reply.trouble else [reason for sender, reason in best.discarded if sender == peer]
        return {"state": "silent", **({"error": reasons[0]} if reasons else {})}
    if reply.status != confd.CONFD_REPL_STATUS_OK:
        return {"state": "broken", "error": str(reply.answer), "latency": reply.latency}
    state = "stale" if reply.serial != best.serial else "current" if reply.answer == best.answer else "contradicts"
    return {"state": state, "serial": reply.serial, "master": reply.answer, "latency": reply.latency}


def node_name(configuration: Configuration, given: Mapping[str, object] | None = None) -> str:
    """Return this node's name in the cluster: what was given, what is configured, or the full name of the host."""
    name = (given or {}).get("node") or configuration.get("node")
    if name in (None, ""):
        host = socket.gethostname()
        name = host if "." in host else socket.getfqdn()
    return str(name)


def role_of(number: object) -> str:
    """Return the name of a role."""
    try:
        return confd.NodeRole(number).name.lower()
    except ValueError:
        return "unknown"
