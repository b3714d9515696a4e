"""Every limit on what crosses the wire, in one place. The broker and the nodes enforce the same numbers."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds; what exceeds one is refused with `ErrorCode.TOO_LARGE`, never cut.

    Sizes are bytes, times are seconds.
    """

    #: One gRPC message, either way.
    message_bytes: int = 4 * MIB
    #: Calls at once on one connection; a client's gRPC library queues further ones.
    calls_per_connection: int = 100
    #: One signed document, registry or root, as a DSSE envelope.
    document_bytes: int = 1 * MIB
    #: Statements or events beside one document.
    statements_per_document: int = 256
    #: Roots handed over in one answer.
    roots_per_answer: int = 64
    #: Rows in one encoding batch.
    rows_per_batch: int = 8192
    #: Rows of one subject (current identity, aliases, former names and addresses).
    rows_per_subject: int = 32
    #: Batches in one upload. With full batches about 34 billion rows: the agreement's quota bites first.
    batches_per_upload: int = 4_194_304
    #: Uploads of one agency to one linkage that are begun and not committed; a further one ends the oldest.
    open_uploads: int = 3
    #: One sealed relay message.
    sealed_bytes: int = 2 * MIB
    #: Sealed messages that wait for one recipient.
    waiting_messages: int = 20_000
    #: Sealed bytes that wait for one recipient.
    waiting_bytes: int = 512 * MIB
    #: One sender takes at most this part of a mailbox: one in so many of its messages and bytes ...
    one_sender_in: int = 8
    #: ... but always so many messages and bytes, where the mailbox is that large.
    sender_messages: int = 250
    sender_bytes: int = 16 * MIB
    #: This part of a mailbox is kept for `protos.wire.relay.URGENT_PURPOSES`: one in so many.
    urgent_one_in: int = 10
    #: How long a sealed message waits at most.
    relay_ttl_seconds: int = 14 * 24 * 3600
    #: Message ids in one acknowledgement.
    acknowledgements_per_call: int = 1000
    #: Audit leaves in one read.
    leaves_per_read: int = 100_000
    #: Deadline of a call that is not a stream.
    unary_deadline_seconds: float = 30.0


LIMITS = Limits()
