"""The tables of disclosure and audit. Migration `r0002_disclosure` creates them.

What is personal is encrypted before it comes here (columns named `wrapped`), and what must be found again is
kept as a keyed hash (`subject_mac`, `link_mac`), so that a stolen database names nobody.
"""

from __future__ import annotations

import sqlalchemy as sa

from agency_node.store.schema import METADATA, TIME

AUDIT_HEAD = sa.Table(
    "audit_head",
    METADATA,
    # One row: whoever appends locks it, so that entries have one order.
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("peaks", sa.LargeBinary, nullable=False),
    sa.Column("last_time", TIME, nullable=False),
)

AUDIT_KEYS = sa.Table(
    "audit_keys",
    METADATA,
    sa.Column("key_id", sa.String(32), primary_key=True),
    # Both are null once the key is erased: then nothing says whose it was.
    sa.Column("subject_mac", sa.String(64), nullable=True, unique=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=True),
)

AUDIT_ENTRIES = sa.Table(
    "audit_entries",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("key_id", sa.String(32), sa.ForeignKey("audit_keys.key_id"), nullable=False, index=True),
)

AUDIT_NODES = sa.Table(
    "audit_nodes",
    METADATA,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
)

AUDIT_CHECKPOINTS = sa.Table(
    "audit_checkpoints",
    METADATA,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
)

AUDIT_WITNESSES = sa.Table(
    "audit_witnesses",
    METADATA,
    # "ours": the newest head of this log that the peer cosigned; "theirs": the peer's, cosigned here.
    sa.Column("peer", sa.String(64), primary_key=True),
    sa.Column("whose", sa.String(8), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
)

PEER_LOGS = sa.Table(
    "peer_logs",
    METADATA,
    sa.Column("peer", sa.String(64), primary_key=True),
    # When a head was last cosigned here, or looked for first.
    sa.Column("valid", TIME, nullable=False),
    # How many heads were refused since.
    sa.Column("refused", sa.Integer, nullable=False),
)

REQUESTS = sa.Table(
    "disclosure_requests",
    METADATA,
    # "made" or "received"
    sa.Column("direction", sa.String(8), primary_key=True),
    sa.Column("request_id", sa.String(64), primary_key=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("peer", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("officer", sa.String(64), nullable=False),
    sa.Column("purpose", sa.String(64), nullable=False),
    sa.Column("tier", sa.Integer, nullable=False),
    sa.Column("policy_hash", sa.String(64), nullable=False),
    sa.Column("subject_mac", sa.String(64), nullable=True),
    sa.Column("link_mac", sa.String(64), nullable=False),
    sa.Column("created", TIME, nullable=False),
    sa.Column("expires", TIME, nullable=False),
    sa.Column("approvals", sa.Integer, nullable=False),
    sa.Column("approvals_needed", sa.Integer, nullable=False),
    sa.Column("message_id", sa.String(32), nullable=True),
    # The signed request with what is known of its subject.
    sa.Column("wrapped", sa.LargeBinary, nullable=True),
    # The decision (received), or how it was answered (made).
    sa.Column("outcome", sa.LargeBinary, nullable=True),
    sa.Column("case_mac", sa.String(64), nullable=True),
    sa.Index("ix_disclosure_requests_by_hash", "direction", "request_hash", unique=True),
    sa.Index("ix_disclosure_requests_by_subject", "subject_mac"),
    sa.Index("ix_disclosure_requests_by_day", "direction", "policy_hash", "created"),
    sa.Index("ix_disclosure_requests_by_officer", "direction", "officer", "created"),
)

APPROVALS = sa.Table(
    "disclosure_approvals",
    METADATA,
    sa.Column("request_hash", sa.String(64), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)

RELEASES = sa.Table(
    "disclosure_releases",
    METADATA,
    # "given" or "received"
    sa.Column("direction", sa.String(8), primary_key=True),
    sa.Column("release_hash", sa.String(64), primary_key=True),
    sa.Column("request_id", sa.String(64), nullable=True),
    sa.Column("peer", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("policy_hash", sa.String(64), nullable=False),
    sa.Column("subject_mac", sa.String(64), nullable=False),
    sa.Column("link_mac", sa.String(64), nullable=False),
    sa.Column("released", TIME, nullable=False),
    sa.Column("purge_after", TIME, nullable=False),
    # What was received, null once it is purged; the record of the decision for what was pushed, else null.
    sa.Column("wrapped", sa.LargeBinary, nullable=True),
    sa.Index("ix_disclosure_releases_by_subject", "subject_mac"),
    sa.Index("ix_disclosure_releases_by_link", "link_mac"),
    sa.Index("ix_disclosure_releases_due", "state", "purge_after"),
)

BREAK_GLASS = sa.Table(
    "break_glass",
    METADATA,
    # Of the request.
    sa.Column("direction", sa.String(8), primary_key=True),
    sa.Column("request_id", sa.String(64), primary_key=True),
    sa.Column("officer", sa.String(64), nullable=False),
    sa.Column("peer", sa.String(64), nullable=False),
    sa.Column("policy_hash", sa.String(64), nullable=False),
    sa.Column("used", TIME, nullable=False),
    sa.Column("review_due", TIME, nullable=False),
    sa.Column("reviewed", TIME, nullable=True),
    # Migration `r0010_unjustified` adds these: when it was found not justified, and signed off thereafter.
    sa.Column("unjustified", TIME, nullable=True),
    sa.Column("cleared", TIME, nullable=True),
)

# Migration `r0003_supervision` creates the tables below, and `case_mac` above.

SUPERVISION = sa.Table(
    "supervision",
    METADATA,
    sa.Column("item_id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("officer", sa.String(64), nullable=False),
    sa.Column("peer", sa.String(64), nullable=False),
    sa.Column("policy_hash", sa.String(64), nullable=False),
    sa.Column("raised", TIME, nullable=False),
    sa.Column("signed_off", TIME, nullable=True),
)

CONFLICTS = sa.Table(
    "conflicts_of_interest",
    METADATA,
    sa.Column("officer", sa.String(64), primary_key=True),
    # Empty: the officer may not ask about anybody.
    sa.Column("subject_mac", sa.String(64), primary_key=True),
    # Each declaration stays beside the others until the conflict is lifted.
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("declared", TIME, nullable=False),
    # The subject and the reason.
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)

PUSHES = sa.Table(
    "pushes",
    METADATA,
    sa.Column("token", sa.LargeBinary(16), primary_key=True),
    # Null: not looked at since the link was told or changed.
    sa.Column("checked", TIME, nullable=True),
    # Of what was pushed last; empty where nothing was.
    sa.Column("digest", sa.String(64), nullable=False),
    # Migration `r0005_push_offers` adds these.
    sa.Column("offer_hash", sa.String(64), nullable=True),
    sa.Column("no_offer_before", TIME, nullable=True),
    sa.Index("ix_pushes_by_offer", "offer_hash", unique=True),
)

# Migration `r0004_provenance` creates this one.

RECEIVED_RECORDS = sa.Table(
    "received_records",
    METADATA,
    # Of the number that another agency gave a record which it disclosed. It outlives what was disclosed.
    sa.Column("record_mac", sa.String(64), primary_key=True),
)

# Migration `r0006_recalls` creates this one.

RECALLS = sa.Table(
    "recalls",
    METADATA,
    sa.Column("peer", sa.String(64), primary_key=True),
    sa.Column("release_hash", sa.String(64), primary_key=True),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("recalled", TIME, nullable=False),
)

# Migration `r0008_orders` creates this one, and `position` among the conflicts of interest.

ORDERS_CARRIED_OUT = sa.Table(
    "orders_carried_out",
    METADATA,
    sa.Column("order_hash", sa.String(64), primary_key=True),
    # Until then the order could be given again, so its hash is kept.
    sa.Column("keep_until", TIME, nullable=False),
)
