"""The files and settings by which servers speak TLS and do SASL."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1
from pathlib import Path
from typing import NamedTuple

SASL_SETTINGS = {"authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}


class Tls(NamedTuple):
    """What the secure ports of an `Ensemble` show and accept, as files in PEM format. The key must be PKCS #8."""

    certfile: str | os.PathLike[str]
    """The servers' certificate, for the host ``127.0.0.1`` if clients are to accept it."""
    keyfile: str | os.PathLike[str]
    """The key to it, not encrypted."""
    ca_certs: str | os.PathLike[str]
    """The certificates of the authorities that vouch for clients."""
    client_auth: bool = True
    """Whether clients must show a certificate."""


class Kerberos(NamedTuple):
    """Who the servers of an `Ensemble` are in a Kerberos realm."""

    principal: str
    """The servers' name, such as ``zookeeper/127.0.0.1@EXAMPLE.COM``; that of clients to whom they are 127.0.0.1."""
    keytab: str | os.PathLike[str]
    """The file with the key to it."""
    config: str | os.PathLike[str]
    """The realm's ``krb5.conf``."""


def write_stores(directory: Path, tls: Tls) -> dict[str, object]:
    """Write what the servers show and accept; the settings that say so."""
    key_store, trust_store = directory / "server.pem", directory / "authorities.pem"
    key_store.write_text(Path(tls.keyfile).read_text() + Path(tls.certfile).read_text())
    trust_store.write_text(Path(tls.ca_certs).read_text())
    return {
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "ssl.keyStore.location": key_store,
        "ssl.trustStore.location": trust_store,
        "ssl.clientAuth": "need" if tls.client_auth else "none",
    }


def super_user_flags(super_user: tuple[str, str]) -> dict[str, object]:
    """The system properties that make a user, by name and password, one who may do everything."""
    name, password = super_user
    digest = b64encode(sha1(f"{name}:{password}".encode(), usedforsecurity=False).digest()).decode()
    return {
        "zookeeper.DigestAuthenticationProvider.superDigest": f"{name}:{digest}",
        "zookeeper.superUser": name,  # of SASL
    }


def write_logins(directory: Path, sasl: Mapping[str, str] | Kerberos) -> tuple[str, ...]:
    """Write who may log in, or how the servers do; the flags that tell Java."""
    if isinstance(sasl, Kerberos):
        module, settings = (
            "com.sun.security.auth.module.Krb5LoginModule",
            {
                "useKeyTab": "true",
                "storeKey": "true",
                "useTicketCache": "false",
                "keyTab": os.fspath(sasl.keytab),
                "principal": sasl.principal,
            },
        )
        flags: tuple[str, ...] = (f"-Djava.security.krb5.conf={os.fspath(sasl.config)}",)
    else:
        module = "org.apache.zookeeper.server.auth.DigestLoginModule"
        settings, flags = {f"user_{name}": password for name, password in sasl.items()}, ()
    options = "".join(f" {name}={_quoted(value)}" for name, value in settings.items())
    (directory / "jaas.conf").write_text(f"Server {{ {module} required{options}; }};\n")
    return (f"-Djava.security.auth.login.config={directory / 'jaas.conf'}", *flags)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
