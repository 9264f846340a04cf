"""What is odd about an ensemble, and what to do about it. Decides, and does nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

_Finding = dict[str, str]
_Row = Mapping[str, Any]

# Seconds by which a clock may differ: the AdminServer tells whole seconds, and the question takes its time.
_SKEW = 3
# The part after which a number is near its end: of the 2^32 transactions of one leader, or of the 2^31 leaders.
_NEAR = 0.9
_HALF = 1 << 32


def examine(status: Mapping[str, Any]) -> list[_Finding]:
    """Find what is odd about the status of an ensemble: each finding has ``what`` and ``do``."""
    rows = status["servers"]
    members = [row for row in rows if row["id"] is not None]
    found: list[_Finding] = []
    for part in (_configuration(status), _quorum(status, members), _voters(members), _troubles(rows)):
        found += part
    for part in (_configurations(members), _versions(members), _words(rows), _clocks(rows), _zxids(members)):
        found += part
    return found


def _configuration(status: Mapping[str, Any]) -> Iterator[_Finding]:
    if status["trouble"]:
        yield {
            "what": f"Who is in the ensemble could not be read: {status['trouble']}.",
            "do": "Start a majority of the servers; then look again. Name all of them in the hosts.",
        }
    elif not status["config"]:
        yield {
            "what": "The server stands alone: when it fails, all fails.",
            "do": "Start three servers, each with all three in its list: one that stands alone takes no more.",
        }


def _quorum(status: Mapping[str, Any], members: list[_Row]) -> Iterator[_Finding]:
    if not members:
        return
    if not status["has_quorum"]:
        yield {
            "what": "The members that are in sync are no quorum: nothing can be written.",
            "do": "Start those that are down, until more than half of the participants are up.",
        }
    elif status["critical"]:
        named = ", ".join(f"server.{number}" for number in status["critical"])
        yield {
            "what": f"One more failure ends the quorum: none of {named} may fail now.",
            "do": "Restart nothing. Bring those back that are missing, replace them, or remove them from the members.",
        }
    if status["has_quorum"] and status["leader"] is None:
        yield {"what": "No member says that it leads.", "do": "Wait for the election to end, and look again."}


def _voters(members: list[_Row]) -> Iterator[_Finding]:
    count = sum(row["role"] == "participant" for row in members)
    if count and count % 2 == 0:
        yield {
            "what": f"There are {count} participants: an even number survives no more failures than {count - 1} do, "
            "and needs one more to agree.",
            "do": "Add one, remove one, or make one an observer.",
        }


def _troubles(rows: list[_Row]) -> Iterator[_Finding]:
    for row in rows:
        if row["id"] is None and not row["trouble"]:
            yield {
                "what": f"{row['address']} is no member: it follows, and does not vote.",
                "do": f"Add it, stop it, or take it out of the hosts. Its mode is {row['mode']}.",
            }
        elif row["trouble"]:
            yield {
                "what": f"{_name(row)} {row['trouble']}.",
                "do": "Look at its host and at its log. If it does not come back: replace it by one with the same id "
                f"and an empty disk, or: salt-call zk_ensemble.remove_members {row['id']}"
                if row["id"] is not None
                else "Is it one of the servers? Take it out of the hosts, or start it.",
            }


def _configurations(members: list[_Row]) -> Iterator[_Finding]:
    known = {row["configuration"] for row in members if row["configuration"]}
    if len(known) > 1:
        for row in members:
            if row["configuration"] and row["configuration"] != max(known, key=lambda text: int(text, 16)):
                yield {
                    "what": f"{_name(row)} has the configuration {row['configuration']}, and others have "
                    f"{max(known, key=lambda text: int(text, 16))}.",
                    "do": "Wait until a change of the members is finished. If it stays so, restart that server.",
                }


def _versions(members: list[_Row]) -> Iterator[_Finding]:
    versions = Counter(row["version"] for row in members if row["version"])
    if len(versions) > 1:
        named = ", ".join(f"{count} of {version}" for version, count in sorted(versions.items()))
        yield {
            "what": f"The members are of different versions: {named}.",
            "do": "Finish the upgrade: salt-run zk_ensemble.restart_order tells in which order.",
        }


def _words(rows: list[_Row]) -> Iterator[_Finding]:
    for row in rows:
        refused = [word for word, way in row["words"].items() if "4lw.commands.whitelist" in way]
        if refused:
            yield {
                "what": f"{_name(row)} does not answer {', '.join(refused)}, and has no AdminServer that does: which "
                "member it is can only be told by its address.",
                "do": "In its zoo.cfg set 4lw.commands.whitelist=srvr,mntr,conf, or admin.enableServer=true.",
            }


def _clocks(rows: list[_Row]) -> Iterator[_Finding]:
    for row in rows:
        if row["clock"] is not None and abs(row["clock"]) > _SKEW:
            way = "ahead of" if row["clock"] > 0 else "behind"
            yield {
                "what": f"The clock of {_name(row)} is {abs(row['clock']):.0f} s {way} this host's.",
                "do": "Look at its time service. ZooKeeper orders nothing by clocks; times in logs are wrong.",
            }


def _zxids(members: list[_Row]) -> Iterator[_Finding]:
    for row in members:
        zxid = int(row["zxid"], 16) if row["zxid"] and row["zxid"].startswith("0x") else 0
        epoch, counter = divmod(zxid, _HALF)
        if row["mode"] == "leader" and counter > _NEAR * _HALF:
            yield {
                "what": f"The leader has ordered {counter:,} of the 4,294,967,295 transactions that one can: then "
                "it steps down, and there is an election.",
                "do": "Restart the leader at a time of your choice, so that the next one begins anew.",
            }
        if row["mode"] == "leader" and epoch > _NEAR * (_HALF // 2):
            yield {
                "what": f"There were {epoch:,} leaders of the 2,147,483,647 that there can be.",
                "do": "Plan to move the data to a new ensemble.",
            }


def _name(row: _Row) -> str:
    address = row["address"] or "of no known address"
    return address if row["id"] is None else f"server.{row['id']} ({address})"
