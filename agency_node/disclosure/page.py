"""What the pages that officers read at a terminal share, and how what they agreed to is signed.

The node prepares documents and hands them over; they are read on the officer's side of the socket. Whoever
runs the node could otherwise have any officer sign anything, a policy included.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from agency_node.rpc.ports import PreparedDocument
from crypto.envelope import sign_envelope
from crypto.keys import Signer
from policies.codec import Document, parse, payload_type, write
from policies.ids import AgencyId, FederationId
from protos.wire.terminal import TerminalError

# So that a quoted line fits on a terminal of 80 columns, which breaks longer ones anywhere.
_QUOTED, _WIDTH, _COLUMNS = "    | ", 60, 78
_D = TypeVar("_D", bound=Document)


@dataclass(frozen=True, slots=True)
class Acting:
    """The federation and the agency for which an officer acts, as the configuration on their side says."""

    federation: FederationId
    agency: AgencyId


def words(name: object) -> str:
    """A machine name as words."""
    return str(name).replace("_", " ")


def quoted(prose: str) -> Iterator[str]:
    """Somebody's own words, so that no line of them can pass for one of the page."""
    for line in prose.split("\n"):
        for part in textwrap.wrap(line, _WIDTH) or [""]:
            yield _QUOTED + part


def titled(title: str, value: str, indent: str = "") -> Iterator[str]:
    """Somebody's own words after their title: on its line where they fit there, otherwise quoted below."""
    line = f"{indent}{title}: {value}"
    if "\n" not in value and len(line) <= _COLUMNS:
        yield line
    else:
        yield f"{indent}{title}:"
        yield from (indent + part for part in quoted(value))


def prepared_as(kind: type[_D], prepared: PreparedDocument) -> _D:
    """The document that the node prepared, which must be of this kind.

    Raises:
        TerminalError: it is of another kind. DocumentError: it cannot be read.
    """
    require_agreed(prepared.payload_type == payload_type(kind))
    return parse(kind, prepared.payload)


def require_agreed(agrees: bool) -> None:
    """Raises TerminalError unless the node prepared what the officer said: nothing must be signed."""
    if not agrees:
        raise TerminalError(
            "the node would have you sign something else than what you asked for and are shown;"
            " nothing was signed. Tell whoever looks after the node"
        )


def signed(document: Document, signer: Signer) -> bytes:
    """A document that was read and agreed to, under the officer's signature: this document and no other."""
    return sign_envelope(payload_type(type(document)), write(document), [signer]).to_bytes()
