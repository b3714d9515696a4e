"""Linkage messages: domain types and the only conversion to and from their wire form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from protos.linkage.v1 import linkage_pb2 as pb
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS

HANDLE_BYTES = 16
EXACT_TOKEN_BYTES = 32
LINK_TOKEN_BYTES = 16


class EpochState(StrEnum):
    """How far an epoch's key agreement is."""

    KEYING = "keying"
    OPEN = "open"
    FAILED = "failed"


class RotationReason(StrEnum):
    """Why a new epoch is asked for."""

    MEMBERSHIP = "membership"
    AGE = "age"
    SUSPICION = "suspicion"
    KEY_MISMATCH = "key_mismatch"


class UploadMode(StrEnum):
    """Whether an upload replaces all rows of the agency, or adds, changes and withdraws some."""

    FULL = "full"
    DELTA = "delta"


class RunState(StrEnum):
    """The life of a matching run."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self in {RunState.DONE, RunState.FAILED, RunState.CANCELLED}


class Strength(StrEnum):
    """How strong a link is, in the only terms that a node ever learns (DESIGN: bands, never scores)."""

    POSSIBLE = "possible"
    PROBABLE = "probable"
    STRONG = "strong"


class LinkEventKind(StrEnum):
    """What happened to a link that the recipient may know of."""

    TOLD = "told"
    CHANGED = "changed"
    RECALLED = "recalled"


@dataclass(frozen=True, slots=True)
class Epoch:
    """The current epoch of a linkage."""

    epoch: int
    state: EpochState
    confirmed_by: tuple[str, ...]
    agreement_hash: str
    schema_hash: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a batch: `present` has a byte a row (1 or 0), `values` the values that are present."""

    present: bytes = field(repr=False)
    values: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EncodingBatch:
    """Rows in columns. Row i belongs to the subject `handles[16 i : 16 i + 16]`."""

    handles: bytes = field(repr=False)
    row_numbers: bytes = field(repr=False)
    projections: tuple[Column, ...] = ()
    exact_tokens: tuple[Column, ...] = ()
    withdrawn: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def rows(self) -> int:
        """How many rows the batch holds."""
        return len(self.row_numbers)


@dataclass(frozen=True, slots=True)
class BatchShape:
    """What the linkage agreement says a batch must look like."""

    #: Bytes of a CLK, for each projection in order.
    clk_bytes: tuple[int, ...]
    #: How many exact tokens a row may have.
    exact_tokens: int


@dataclass(frozen=True, slots=True)
class UploadStart:
    """What a node announces before it uploads."""

    linkage_id: str
    epoch: int
    schema_hash: str
    upload_id: str
    mode: UploadMode
    row_count: int


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Where a matching run is."""

    state: RunState
    stage: str
    done: int
    total: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A link as one recipient may know it. `counterpart` is None where the policy withholds the name."""

    token: bytes = field(repr=False)
    handle: bytes = field(repr=False)
    linkage_id: str
    epoch: int
    strength: Strength
    counterpart: str | None
    policy_hash: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """One step in what a recipient knows of its links. Cursors rise without repeating."""

    cursor: int
    kind: LinkEventKind
    link: Link


def check_batch(batch: EncodingBatch, shape: BatchShape) -> None:
    """Refuses a batch that does not fit the linkage agreement.

    Raises:
        RefusedError: TOO_LARGE, WRONG_LENGTH or BATCH_INVALID, naming the column.
    """
    rows = batch.rows
    if rows > LIMITS.rows_per_batch or len(batch.withdrawn) > LIMITS.rows_per_batch:
        raise RefusedError(
            ErrorCode.TOO_LARGE, f"a batch holds at most {LIMITS.rows_per_batch} rows or withdrawn handles"
        )
    if len(batch.handles) != rows * HANDLE_BYTES:
        raise RefusedError(
            ErrorCode.BATCH_INVALID, f"{rows} rows need {rows * HANDLE_BYTES} bytes of handles"
        )
    if any(len(handle) != HANDLE_BYTES for handle in batch.withdrawn):
        raise RefusedError(ErrorCode.BATCH_INVALID, f"a withdrawn handle is not {HANDLE_BYTES} bytes long")
    if batch.row_numbers and max(batch.row_numbers) >= LIMITS.rows_per_subject:
        raise RefusedError(ErrorCode.TOO_LARGE, f"a subject has at most {LIMITS.rows_per_subject} rows")
    if rows == 0:
        return
    if len(batch.projections) != len(shape.clk_bytes) or len(batch.exact_tokens) != shape.exact_tokens:
        raise RefusedError(
            ErrorCode.WRONG_SCHEMA,
            f"the schema has {len(shape.clk_bytes)} projections and {shape.exact_tokens} exact tokens; "
            f"the batch has {len(batch.projections)} and {len(batch.exact_tokens)}",
        )
    for number, (column, width) in enumerate(zip(batch.projections, shape.clk_bytes, strict=True)):
        _check_column(f"projection {number}", column, rows, width)
    for number, column in enumerate(batch.exact_tokens):
        _check_column(f"exact token {number}", column, rows, EXACT_TOKEN_BYTES)


def _check_column(name: str, column: Column, rows: int, width: int) -> None:
    if len(column.present) != rows or column.present.strip(b"\x00\x01"):
        raise RefusedError(ErrorCode.BATCH_INVALID, f"{name}: one byte, 0 or 1, for each of {rows} rows")
    held = column.present.count(1)
    if len(column.values) != held * width:
        raise RefusedError(
            ErrorCode.WRONG_LENGTH,
            f"{name}: {held} values of {width} bytes are {held * width} bytes, not {len(column.values)}",
        )


def batch_to_wire(batch: EncodingBatch) -> pb.EncodingBatch:
    """The wire form of a batch."""
    return pb.EncodingBatch(
        handles=batch.handles,
        row_numbers=batch.row_numbers,
        projections=_columns_to_wire(batch.projections),
        exact_tokens=_columns_to_wire(batch.exact_tokens),
        withdrawn_handles=b"".join(batch.withdrawn),
    )


def batch_from_wire(message: pb.EncodingBatch) -> EncodingBatch:
    """The batch of a wire message; its shape is checked by `check_batch`."""
    withdrawn = message.withdrawn_handles
    if len(withdrawn) % HANDLE_BYTES:
        raise RefusedError(
            ErrorCode.BATCH_INVALID, f"withdrawn handles are not a multiple of {HANDLE_BYTES} bytes"
        )
    return EncodingBatch(
        handles=message.handles,
        row_numbers=message.row_numbers,
        projections=tuple(Column(c.present, c.values) for c in message.projections),
        exact_tokens=tuple(Column(c.present, c.values) for c in message.exact_tokens),
        withdrawn=tuple(withdrawn[i : i + HANDLE_BYTES] for i in range(0, len(withdrawn), HANDLE_BYTES)),
    )


def _columns_to_wire(columns: Iterable[Column]) -> Sequence[pb.Column]:
    return [pb.Column(present=column.present, values=column.values) for column in columns]


_Domain = TypeVar("_Domain", bound=StrEnum)

_EPOCH_STATES: dict[EpochState, pb.EpochState.ValueType] = {
    EpochState.KEYING: pb.EPOCH_STATE_KEYING,
    EpochState.OPEN: pb.EPOCH_STATE_OPEN,
    EpochState.FAILED: pb.EPOCH_STATE_FAILED,
}
_ROTATION_REASONS: dict[RotationReason, pb.RotationReason.ValueType] = {
    RotationReason.MEMBERSHIP: pb.ROTATION_REASON_MEMBERSHIP,
    RotationReason.AGE: pb.ROTATION_REASON_AGE,
    RotationReason.SUSPICION: pb.ROTATION_REASON_SUSPICION,
    RotationReason.KEY_MISMATCH: pb.ROTATION_REASON_KEY_MISMATCH,
}
_UPLOAD_MODES: dict[UploadMode, pb.UploadMode.ValueType] = {
    UploadMode.FULL: pb.UPLOAD_MODE_FULL,
    UploadMode.DELTA: pb.UPLOAD_MODE_DELTA,
}
_RUN_STATES: dict[RunState, pb.RunState.ValueType] = {
    RunState.QUEUED: pb.RUN_STATE_QUEUED,
    RunState.RUNNING: pb.RUN_STATE_RUNNING,
    RunState.DONE: pb.RUN_STATE_DONE,
    RunState.FAILED: pb.RUN_STATE_FAILED,
    RunState.CANCELLED: pb.RUN_STATE_CANCELLED,
}
_STRENGTHS: dict[Strength, pb.StrengthBand.ValueType] = {
    Strength.POSSIBLE: pb.STRENGTH_BAND_POSSIBLE,
    Strength.PROBABLE: pb.STRENGTH_BAND_PROBABLE,
    Strength.STRONG: pb.STRENGTH_BAND_STRONG,
}
_EVENT_KINDS: dict[LinkEventKind, pb.LinkEventKind.ValueType] = {
    LinkEventKind.TOLD: pb.LINK_EVENT_KIND_TOLD,
    LinkEventKind.CHANGED: pb.LINK_EVENT_KIND_CHANGED,
    LinkEventKind.RECALLED: pb.LINK_EVENT_KIND_RECALLED,
}


def _named(table: Mapping[_Domain, int], value: int, what: str) -> _Domain:
    for name, number in table.items():
        if number == value:
            return name
    raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"{what}: value {value} is not known")


def epoch_to_wire(epoch: Epoch) -> pb.GetEpochResponse:
    """The wire form of an epoch."""
    return pb.GetEpochResponse(
        epoch=epoch.epoch,
        state=_EPOCH_STATES[epoch.state],
        confirmed_by=epoch.confirmed_by,
        agreement_hash=epoch.agreement_hash,
        schema_hash=epoch.schema_hash,
    )


def epoch_from_wire(message: pb.GetEpochResponse) -> Epoch:
    """The epoch of a wire message."""
    return Epoch(
        message.epoch,
        epoch_state_from_wire(message.state),
        tuple(message.confirmed_by),
        message.agreement_hash,
        message.schema_hash,
    )


def epoch_state_to_wire(state: EpochState) -> pb.EpochState.ValueType:
    """The wire number of an epoch state."""
    return _EPOCH_STATES[state]


def epoch_state_from_wire(value: int) -> EpochState:
    """The epoch state of a wire number."""
    return _named(_EPOCH_STATES, value, "epoch state")


def rotation_to_wire(reason: RotationReason) -> pb.RotationReason.ValueType:
    """The wire number of a rotation reason."""
    return _ROTATION_REASONS[reason]


def rotation_from_wire(value: int) -> RotationReason:
    """The rotation reason of a wire number."""
    return _named(_ROTATION_REASONS, value, "rotation reason")


def upload_to_wire(start: UploadStart) -> pb.BeginUploadRequest:
    """The wire form of an upload's announcement."""
    return pb.BeginUploadRequest(
        linkage_id=start.linkage_id,
        epoch=start.epoch,
        schema_hash=start.schema_hash,
        upload_id=start.upload_id,
        mode=_UPLOAD_MODES[start.mode],
        row_count=start.row_count,
    )


def upload_from_wire(message: pb.BeginUploadRequest) -> UploadStart:
    """The announcement of a wire message."""
    return UploadStart(
        message.linkage_id,
        message.epoch,
        message.schema_hash,
        message.upload_id,
        _named(_UPLOAD_MODES, message.mode, "upload mode"),
        message.row_count,
    )


def progress_to_wire(progress: RunProgress) -> pb.WatchRunResponse:
    """The wire form of a run's progress."""
    return pb.WatchRunResponse(
        state=_RUN_STATES[progress.state],
        stage=progress.stage,
        done_units=progress.done,
        total_units=progress.total,
        message=progress.message,
    )


def progress_from_wire(message: pb.WatchRunResponse) -> RunProgress:
    """The progress of a wire message."""
    return RunProgress(
        run_state_from_wire(message.state),
        message.stage,
        message.done_units,
        message.total_units,
        message.message,
    )


def run_state_to_wire(state: RunState) -> pb.RunState.ValueType:
    """The wire number of a run state."""
    return _RUN_STATES[state]


def run_state_from_wire(value: int) -> RunState:
    """The run state of a wire number."""
    return _named(_RUN_STATES, value, "run state")


def link_to_wire(link: Link) -> pb.Link:
    """The wire form of a link."""
    return pb.Link(
        token=link.token,
        handle=link.handle,
        linkage_id=link.linkage_id,
        epoch=link.epoch,
        band=_STRENGTHS[link.strength],
        counterpart=link.counterpart or "",
        policy_hash=link.policy_hash,
        expires_unix=int(link.expires.timestamp()),
    )


def link_from_wire(message: pb.Link) -> Link:
    """The link of a wire message."""
    if len(message.token) != LINK_TOKEN_BYTES or len(message.handle) != HANDLE_BYTES:
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, "a link's token and handle have 16 bytes each")
    return Link(
        message.token,
        message.handle,
        message.linkage_id,
        message.epoch,
        _named(_STRENGTHS, message.band, "strength band"),
        message.counterpart or None,
        message.policy_hash,
        datetime.fromtimestamp(message.expires_unix, UTC),
    )


def link_event_to_wire(event: LinkEvent) -> pb.WatchLinksResponse:
    """The wire form of a link event."""
    return pb.WatchLinksResponse(
        cursor=event.cursor, kind=_EVENT_KINDS[event.kind], link=link_to_wire(event.link)
    )


def link_event_from_wire(message: pb.WatchLinksResponse) -> LinkEvent:
    """The link event of a wire message."""
    return LinkEvent(
        message.cursor, _named(_EVENT_KINDS, message.kind, "link event"), link_from_wire(message.link)
    )
