"""The Java that servers run on, and the jars that they are made of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_DEBIAN_PACKAGES = "default-jre-headless libzookeeper-java libslf4j-java libservlet-api-java util-linux"
_JAR_DIR = Path("/usr/share/java")
_JARS = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "metrics-core", "snappy-java")
# What the AdminServer needs beside what zookeeper.jar names itself.
_ADMIN_JARS = ("servlet-api",)
_NETTY_JARS = (
    *(f"netty-{name}" for name in ("buffer", "codec", "common", "handler", "resolver", "transport")),
    *("netty-transport-native-epoll", "netty-transport-native-unix-common"),
)
_FAST_START = ("-XX:TieredStopAtLevel=1", "-Xms16m")
_JVM_FLAGS = (
    *("-XX:+UseSerialGC", "-Xshare:auto", "-XX:-UsePerfData", "-Xmx256m", "-Djava.net.preferIPv4Stack=true"),
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    # Else every four letter word is logged.
    "-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.NIOServerCnxn=warn",
)


class EnsembleError(RuntimeError):
    """An ensemble cannot be started, or is not in the state that was asked for."""


def java_command(with_tls: bool, fast_start: bool, with_admin: bool = False) -> tuple[str, ...]:
    """Return the command that runs Java with ZooKeeper's class path, as far as it is the same for all servers."""
    names = (*_JARS, *(_NETTY_JARS if with_tls else ()), *(_ADMIN_JARS if with_admin else ()))
    jars = [_JAR_DIR / f"{name}.jar" for name in names]
    class_path = os.environ.get("ZKCOORD_ZOOKEEPER_CLASSPATH")
    missing = [program for program in ("java", "setpriv") if not shutil.which(program)]
    if not class_path:
        missing += [str(jar) for jar in jars if not jar.exists()]
    if missing:
        raise EnsembleError(f"ZooKeeper needs {', '.join(missing)}; on Debian: apt-get install {_DEBIAN_PACKAGES}")
    flags = (*_JVM_FLAGS, *(_FAST_START if fast_start else ()))
    return ("java", *flags, "-cp", class_path or ":".join(map(str, jars)))
