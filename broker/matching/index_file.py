"""A bit-sliced index in one file, to be mapped into memory.

Layout: 8 bytes magic ``TSINDEX1``; 8 bytes little-endian length of the header; the header in JSON, which
names each array with its type, shape and offset; the arrays, each starting on a page (4,096 bytes). A whole
file is written beside the old one and renamed over it, so a reader, or a crash, sees the old index or the
new one.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from broker.matching.errors import MatchingError
from broker.matching.segment import Segment
from broker.matching.transpose import LANE_WORDS, LANES

_MAGIC = b"TSINDEX1"
_PAGE = 4096
_MAX_HEADER = 1 << 16
_SEGMENT_TYPES = {
    "planes": "<u8",
    "gone": "<u8",
    "lane_popcount": "<i4",
    "lane_row": "<i8",
    "lowest": "<i4",
    "highest": "<i4",
}
_SEGMENTS = ("base", "tail")
_TYPES = {"order": "<u2", "row_lane": "<i8"} | {
    f"{segment}.{column}": kind for segment in _SEGMENTS for column, kind in _SEGMENT_TYPES.items()
}

Array: TypeAlias = npt.NDArray[Any]
IndexParts: TypeAlias = tuple[npt.NDArray[np.uint16], tuple[Segment, Segment], npt.NDArray[np.int64]]


class IndexFileError(MatchingError):
    """A saved index that is missing, cut short, damaged, or of another format."""


def write_index(
    path: Path,
    order: npt.NDArray[np.uint16],
    segments: tuple[Segment, Segment],
    row_lane: npt.NDArray[np.int64],
) -> None:
    """Write an index to ``path`` atomically, with mode 0600."""
    arrays: dict[str, Array] = {"order": order, "row_lane": row_lane}
    for name, segment in zip(_SEGMENTS, segments, strict=True):
        count = segment.count
        arrays |= {
            f"{name}.planes": segment.planes[:count],
            f"{name}.gone": segment.gone[:count],
            f"{name}.lane_popcount": segment.lane_popcount[: count * LANES],
            f"{name}.lane_row": segment.lane_row[: count * LANES],
            f"{name}.lowest": segment.lowest[:count],
            f"{name}.highest": segment.highest[:count],
        }
    header, offsets = _header(arrays, {n: s.lanes for n, s in zip(_SEGMENTS, segments, strict=True)})
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
            for name, array in arrays.items():
                file.seek(offsets[name])
                if array.size:
                    file.write(np.ascontiguousarray(array, _TYPES[name]).data)
            file.truncate(max(file.tell(), offsets["end"]))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _header(arrays: Mapping[str, Array], lanes: Mapping[str, int]) -> tuple[bytes, dict[str, int]]:
    offsets: dict[str, int] = {}
    at = _PAGE
    for name, array in arrays.items():
        offsets[name] = at
        at += -(-array.nbytes // _PAGE) * _PAGE
    offsets["end"] = at
    shapes = {name: {"offset": offsets[name], "shape": list(array.shape)} for name, array in arrays.items()}
    header = json.dumps({"arrays": shapes, "lanes": dict(lanes), "size": at}, separators=(",", ":")).encode()
    if len(_MAGIC) + 8 + len(header) > _PAGE:
        raise IndexFileError("the index has a header longer than a page")
    return header, offsets


def read_index(path: Path) -> IndexParts:
    """Map the index at ``path``, copy on write.

    :raises IndexFileError: the file is missing, damaged or of another format.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_PAGE)
    except OSError as error:
        raise IndexFileError(f"cannot read the index {path}: {error.strerror}") from error
    if start[: len(_MAGIC)] != _MAGIC:
        raise IndexFileError(f"{path} is not an index of this version; rebuild it from the encodings")
    length = int.from_bytes(start[8:16], "little")
    try:
        header = json.loads(start[16 : 16 + length])
        if header["size"] != size:
            raise IndexFileError(
                f"{path} has {size:,} bytes, not the {header['size']:,} it should have; rebuild it"
            )
        arrays = {name: _mapped(path, name, header["arrays"][name]) for name in _TYPES}
        order = np.array(arrays["order"])
        if len(order) % 8 or not np.array_equal(np.sort(order), np.arange(len(order))):
            raise ValueError("the order of bits is not a permutation")
        segments = tuple(_segment(arrays, name, int(header["lanes"][name]), len(order)) for name in _SEGMENTS)
    except (ValueError, KeyError, TypeError) as error:
        raise IndexFileError(f"{path} is damaged; rebuild it from the encodings") from error
    return order, (segments[0], segments[1]), np.array(arrays["row_lane"])


def _mapped(path: Path, name: str, entry: Mapping[str, Any]) -> Array:
    shape = tuple(int(n) for n in entry["shape"])
    if 0 in shape:
        return np.empty(shape, _TYPES[name])
    return np.memmap(path, _TYPES[name], mode="c", offset=int(entry["offset"]), shape=shape).view(np.ndarray)


def _segment(arrays: Mapping[str, Array], name: str, lanes: int, bits: int) -> Segment:
    columns = {column: arrays[f"{name}.{column}"] for column in _SEGMENT_TYPES}
    count = -(-lanes // LANES)
    expected = {
        "planes": (count, bits + 1, LANE_WORDS),
        "gone": (count, LANE_WORDS),
        "lane_popcount": (count * LANES,),
        "lane_row": (count * LANES,),
        "lowest": (count,),
        "highest": (count,),
    }
    # The compiled scan trusts these shapes; a wrong one must not get that far.
    if lanes < 0 or any(columns[column].shape != shape for column, shape in expected.items()):
        raise ValueError("array shapes do not fit together")
    return Segment(**columns, lanes=lanes)
