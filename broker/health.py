"""Whether a broker serves where its configuration says: one TLS handshake, for service managers.

gRPC's health service answers members of the federation only, and a broker's certificate does not let it be a
client. What can be told without being a member is told honestly: something accepts connections on the
configured address, speaks TLS 1.3, and proves possession of the key of the configured certificate.
"""

from __future__ import annotations

import socket
import ssl

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from broker.config import BrokerConfig

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - addresses to reach, not to bind


class HealthError(Exception):
    """The broker does not serve as configured; the message says what was seen."""


def probe(config: BrokerConfig, seconds: float = 3.0) -> str:
    """The address that answered with the configured certificate.

    Raises:
        HealthError: nothing answers there, or not with that certificate.
        OSError, ValueError: a PEM file is missing or unreadable.
    """
    host, _, port = config.listen.rpartition(":")
    host = host.strip("[]")
    address = (_ANY.get(host, host), int(port))
    expected = load_pem_x509_certificate(config.tls.certificate.read_bytes()).public_bytes(Encoding.DER)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(config.tls.federation_ca)
    context.check_hostname = False  # the certificate is compared whole, below
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(address, seconds) as plain,
            context.wrap_socket(plain) as secure,
        ):
            found = secure.getpeercert(binary_form=True)
    except ssl.SSLError as error:
        raise HealthError(f"{config.listen} does not speak TLS as configured: {error.reason}") from None
    except OSError as error:
        raise HealthError(f"nothing serves on {config.listen}: {error}") from None
    if found != expected:
        raise HealthError(
            f"{config.listen} serves another certificate than {config.tls.certificate}; "
            "restart the broker after changing it"
        )
    return f"{address[0]}:{port}"
