"""A TLS server that ends each handshake with the alert it is told to, as one version of Java or another does."""

from __future__ import annotations

import socket
import ssl
import struct
import tempfile
import threading
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from zkcoord.testing import Tls

ALERT, APPLICATION_DATA, FATAL = 21, 23, 2
SECRET = "SERVER_TRAFFIC_SECRET_0"


class AlertingServer:
    """Listens, and sends the fatal alert `number` to whoever greets it.

    It does so at once, or, where `asks` is set, when it has shown its certificate and asked for the client's, and the
    client has answered.
    """

    def __init__(self, number: int, version: ssl.TLSVersion, tls: Tls, *, asks: bool) -> None:
        self._number, self._version, self._tls, self._asks = number, version, tls, asks
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, tempfile.TemporaryDirectory() as directory:
            connection.settimeout(10)
            try:
                hello = connection.recv(65536)
                if not self._asks:
                    alert = struct.pack("!BHHBB", ALERT, 0x0303, 2, FATAL, self._number)
                else:
                    alert = self._ask(connection, hello, Path(directory) / "secrets")
                connection.sendall(alert)
                while connection.recv(65536):  # Else the kernel resets the connection, and the alert may be lost.
                    pass
            except OSError:
                pass

    def _ask(self, connection: socket.socket, hello: bytes, secrets: Path) -> bytes:
        """Answer the greeting, wait for the client's answer; the alert as the client can read it then."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = self._version
        context.load_cert_chain(self._tls.certfile, self._tls.keyfile)
        context.load_verify_locations(self._tls.ca_certs)
        context.verify_mode = ssl.CERT_REQUIRED
        context.keylog_filename = str(secrets)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        handshake = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            incoming.write(hello)
            try:
                handshake.do_handshake()
            except ssl.SSLWantReadError:
                flight = outgoing.read()
            if flight:
                break
            hello = connection.recv(65536)
        connection.sendall(flight)
        connection.recv(65536)
        plain = struct.pack("!BB", FATAL, self._number)
        if self._version is ssl.TLSVersion.TLSv1_2:
            return struct.pack("!BHH", ALERT, 0x0303, len(plain)) + plain
        lines = (line.split() for line in secrets.read_text().splitlines() if not line.startswith("#"))
        return _encrypted(ALERT, plain, next(bytes.fromhex(line[2]) for line in lines if line[0] == SECRET))


def _encrypted(kind: int, plain: bytes, secret: bytes) -> bytes:
    """Make the first record after the server's handshake, after RFC 8446, 5.2 and 7.3, for TLS_AES_256_GCM_SHA384."""
    assert len(secret) == 48, "another cipher was agreed on"

    def derived(label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack("!HB", length, len(label)) + label + b"\0"
        return HKDFExpand(hashes.SHA384(), length, info).derive(secret)

    inner = plain + bytes([kind])
    header = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
    # The number of the record is 0, so that the nonce is the derived one as it is.
    return header + AESGCM(derived(b"key", 32)).encrypt(derived(b"iv", 12), inner, header)
