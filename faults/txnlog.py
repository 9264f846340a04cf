"""ZooKeeper's own transaction order, read from the logs of its servers.

A record of a log file is a checksum, a length, the transaction and a letter. ZooKeeper's TxnLogToolkit prints them
too, but shows a multi as raw bytes, and ours are nearly all multis.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_MAGIC = b"ZKLG"
_FILE_HEADER = 16
_RECORD = struct.Struct(">qi")
_HEADER = struct.Struct(">qiqqi")  # session, cxid, zxid, time, type
_INT = struct.Struct(">i")

_CREATE, _DELETE, _SET_DATA, _MULTI, _CREATE2, _OPEN, _CLOSE, _ERROR = 1, 2, 5, 14, 15, -10, -11, -1
_IGNORED = {7, 13}  # setACL, check


class LogError(Exception):
    """The logs do not hold every transaction, or contradict each other."""


class Change(NamedTuple):
    """One thing that a transaction did: `what` is create, delete, set, open or close (of its session)."""

    what: str
    path: str = ""
    data: bytes = b""
    ephemeral: bool = False


class Transaction(NamedTuple):
    """One step of the ensemble. `cxid` is the client's number of its request: 0 if a server ended the session."""

    zxid: int
    session: int
    cxid: int
    changes: tuple[Change, ...]
    time: int = 0
    """Milliseconds since 1970, by the clock of whoever was the leader."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def int(self) -> int:
        self.at += 4
        return _INT.unpack_from(self.data, self.at - 4)[0]

    def buffer(self) -> bytes:
        length = max(self.int(), 0)
        self.at += length
        return self.data[self.at - length : self.at]

    def text(self) -> str:
        return self.buffer().decode()


def _changes(kind: int, body: bytes) -> Iterator[Change]:
    read = _Reader(body)
    if kind in {_CREATE, _CREATE2}:
        path, data = read.text(), read.buffer()
        for _ in range(read.int()):  # the ACL
            read.int(), read.text(), read.text()
        yield Change("create", path, data, ephemeral=bool(body[read.at]))
    elif kind == _DELETE:
        yield Change("delete", read.text())
    elif kind == _SET_DATA:
        yield Change("set", read.text(), read.buffer())
    elif kind == _MULTI:
        parts = [(read.int(), read.buffer()) for _ in range(read.int())]
        # One that fails as a whole keeps the types of the parts before the one that failed. A server that applies it
        # before it writes its log has made errors of them all.
        if all(part != _ERROR for part, _ in parts):
            for part, data in parts:
                yield from _changes(part, data)
    elif kind == _OPEN:
        yield Change("open")
    elif kind == _CLOSE:
        yield Change("close")
    elif kind != _ERROR and kind not in _IGNORED:
        raise LogError(f"a transaction of type {kind}, which nobody here asks for")


def decode(record: bytes) -> Transaction:
    """Take one record apart."""
    session, cxid, zxid, time, kind = _HEADER.unpack_from(record)
    return Transaction(zxid, session, cxid, tuple(_changes(kind, record[_HEADER.size :])), time)


def records(file: Path) -> Iterator[tuple[int, bytes]]:
    """The records of one log file, by zxid. It ends where the preallocated zeros begin."""
    data = file.read_bytes()
    if data[:4] != _MAGIC:
        raise LogError(f"{file.name} is no transaction log")
    at = _FILE_HEADER
    while at + _RECORD.size <= len(data):
        checksum, length = _RECORD.unpack_from(data, at)
        if length <= 0:
            return
        record = data[at + _RECORD.size : at + _RECORD.size + length]
        if zlib.adler32(record) != checksum:
            return  # the last write of a server that was killed
        yield _HEADER.unpack_from(record)[2], record
        at += _RECORD.size + length + 1


def transactions(servers: Iterable[Path]) -> list[Transaction]:
    """All committed transactions of an ensemble, in order, from the data directories of its servers.

    What most servers have logged was committed. At the end of an epoch a leader that was killed may have logged
    what nobody else did: that never happened. Everything else has to be there without a gap, and the same in each.
    """
    logs = [dict(_server(directory)) for directory in servers]
    seen: Counter[int] = Counter(zxid for log in logs for zxid in log)
    ends: dict[int, int] = {}
    for zxid, count in seen.items():
        if count > len(logs) // 2:
            ends[zxid >> 32] = max(ends.get(zxid >> 32, 0), zxid)
    found, before = [], 0
    for zxid in sorted(seen):
        if zxid > ends.get(zxid >> 32, 0):
            continue
        # What they say has to be the same. A record also has a digest of the whole tree, which nobody here checks.
        versions = {decode(record) for record in {log[zxid] for log in logs if zxid in log}}
        if len(versions) > 1:
            raise LogError(f"the servers do not agree on {zxid:#x}: {versions}")
        expected = before + 1 if zxid >> 32 == before >> 32 else (zxid >> 32 << 32) + 1
        if zxid != expected:
            raise LogError(f"no server has logged {expected:#x}")
        found.append(versions.pop())
        before = zxid
    return found


def _server(directory: Path) -> Iterator[tuple[int, bytes]]:
    for file in sorted((directory / "version-2").glob("log.*"), key=lambda file: int(file.suffix[1:], 16)):
        yield from records(file)
