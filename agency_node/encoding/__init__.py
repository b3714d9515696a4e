"""Encoding: normalised identities to hardened CLKs and exact tokens."""

from agency_node.encoding.clk import ClkEncoder, encode_clks, iter_encode
from agency_node.encoding.decoys import decoy_rng, make_decoys
from agency_node.encoding.errors import (
    DecoyError,
    EncodingError,
    EncodingSectionError,
    HandleError,
    HardeningError,
    NarrowProjectionError,
)
from agency_node.encoding.hardening import Hardener, Hardening
from agency_node.encoding.keys import EncodingKeys, schema_hash
from agency_node.encoding.section import EncodingSection, ExactToken, Projection, default_section
from agency_node.encoding.subjects import EncodedRows, EncodingReport, encode_subjects

__all__ = [
    "ClkEncoder",
    "DecoyError",
    "EncodedRows",
    "EncodingError",
    "EncodingKeys",
    "EncodingReport",
    "EncodingSection",
    "EncodingSectionError",
    "ExactToken",
    "HandleError",
    "Hardener",
    "Hardening",
    "HardeningError",
    "NarrowProjectionError",
    "Projection",
    "decoy_rng",
    "default_section",
    "encode_clks",
    "encode_subjects",
    "iter_encode",
    "make_decoys",
    "schema_hash",
]
