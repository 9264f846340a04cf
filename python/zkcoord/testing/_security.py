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
    """The certificates that the secure ports of an `Ensemble` show and accept, in PEM format; the key in PKCS #8."""

    certfile: str | os.PathLike[str]
    """The servers' certificate, for the host ``127.0.0.1`` if clients are to accept it."""
    keyfile: str | os.PathLike[str]
    """The key of that certificate, not encrypted."""
    ca_certs: str | os.PathLike[str]
    """The certificates of the authorities that vouch for clients."""
    client_auth: bool = True
    """Whether clients must show a certificate."""


class Kerberos(NamedTuple):
    """Who the servers of an `Ensemble` are in a Kerberos realm."""

    principal: str
    """The servers' name, such as ``zookeeper/127.0.0.1@EXAMPLE.COM``, which has the host that clients connect to."""
    keytab: str | os.PathLike[str]
    """The file with the key of that name."""
    config: str | os.PathLike[str]
    """The realm's ``krb5.conf``."""


def write_stores(directory: Path, tls: Tls) -> dict[str, object]:
    """Write the files of what the servers show and accept. Return the settings that name these files."""
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
    """Return the system properties that let a user, by name and password, do everything."""
    name, password = super_user
    digest = b64encode(sha1(f"{name}:{password}".encode(), usedforsecurity=False).digest()).decode()
    return {
        "zookeeper.DigestAuthenticationProvider.superDigest": f"{name}:{digest}",
        "zookeeper.superUser": name,  # of SASL
    }


def write_logins(directory: Path, sasl: Mapping[str, str] | Kerberos) -> tuple[str, ...]:
    """Write a file that says who may log in, or how the servers log in. Return the flags that name it to Java."""
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
