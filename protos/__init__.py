"""Wire protocols. Importing this package first makes gRPC refuse everything below TLS 1.3.

gRPC for Python has no option for the lowest TLS version. Its TLS 1.2 cipher list can be set, though: a list
of one suite that needs a pre-shared key leaves TLS 1.2 nothing to agree on, while TLS 1.3, whose suites are
not configurable, goes on. gRPC reads the variable once, when it is first imported.
"""

import os
import sys

_VARIABLE = "GRPC_SSL_CIPHER_SUITES"
_NOTHING_FOR_TLS12 = "ECDHE-PSK-CHACHA20-POLY1305"

if os.environ.get(_VARIABLE) != _NOTHING_FOR_TLS12:
    if "grpc" in sys.modules:
        raise ImportError("import protos before grpc: TLS versions below 1.3 could no longer be refused")
    os.environ[_VARIABLE] = _NOTHING_FOR_TLS12
