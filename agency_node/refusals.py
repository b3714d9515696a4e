"""How errors leave the node: those of its own beside those of the layers below."""

from __future__ import annotations

from agency_node.errors import NodeError
from agency_node.mapping_toml import MappingError
from agency_node.sources.errors import SourceError
from protos.wire.errors import ErrorCode
from protos.wire.refusals import translator

#: The refusal that a foreseen error stands for; None for anything else.
translate = translator(
    (
        (MappingError, ErrorCode.INVALID_ARGUMENT),
        (SourceError, ErrorCode.INVALID_ARGUMENT),
        (NodeError, ErrorCode.INVALID_ARGUMENT),
    )
)
