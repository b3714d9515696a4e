"""BLAKE2b (RFC 7693) in numba, for the short tokens of an encoder.

``hashlib`` takes longer to be called than to hash a token. What clkhash calls ``blake2b(token, key=key,
salt=str(i).encode())`` is here one compression from a state that has taken in parameters and key already.
"""

import numpy as np
from numpy.typing import NDArray

from protos.wire.jit import compiled

BLOCK_BYTES = 128
LONGEST_KEY = 64
DIGEST_SHORTS = 32

_INITIAL = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)  # fmt: skip
_SCHEDULE = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    dtype=np.int64,
)

_Four = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


@compiled
def _mix(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64) -> _Four:
    a = a + b + x
    d = d ^ a
    d = (d >> np.uint64(32)) | (d << np.uint64(32))
    c = c + d
    b = b ^ c
    b = (b >> np.uint64(24)) | (b << np.uint64(40))
    a = a + b + y
    d = d ^ a
    d = (d >> np.uint64(16)) | (d << np.uint64(48))
    c = c + d
    b = b ^ c
    b = (b >> np.uint64(63)) | (b << np.uint64(1))
    return a, b, c, d


@compiled
def compress(
    state: NDArray[np.uint64], message: NDArray[np.uint64], count: int, final: bool, out: NDArray[np.uint64]
) -> None:
    """RFC 7693, section 3.2: ``out`` (8,) is ``state`` (8,) after the block ``message`` (16,), which ends at
    byte ``count`` of the input."""
    s0, s1, s2, s3, s4, s5, s6, s7 = (
        state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7]
    )  # fmt: skip
    v0, v1, v2, v3, v4, v5, v6, v7 = s0, s1, s2, s3, s4, s5, s6, s7
    v8, v9, v10, v11 = _INITIAL[0], _INITIAL[1], _INITIAL[2], _INITIAL[3]
    v12, v13, v14, v15 = _INITIAL[4] ^ np.uint64(count), _INITIAL[5], _INITIAL[6], _INITIAL[7]
    if final:
        v14 = ~v14
    m = message
    for turn in range(12):
        s = _SCHEDULE[turn]
        v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[s[0]], m[s[1]])
        v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[s[2]], m[s[3]])
        v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[s[4]], m[s[5]])
        v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[s[6]], m[s[7]])
        v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[s[8]], m[s[9]])
        v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[s[10]], m[s[11]])
        v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[s[12]], m[s[13]])
        v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[s[14]], m[s[15]])
    out[0], out[1], out[2], out[3] = s0 ^ v0 ^ v8, s1 ^ v1 ^ v9, s2 ^ v2 ^ v10, s3 ^ v3 ^ v11
    out[4], out[5], out[6], out[7] = s4 ^ v4 ^ v12, s5 ^ v5 ^ v13, s6 ^ v6 ^ v14, s7 ^ v7 ^ v15


def keyed_states(key: bytes, blocks: int) -> NDArray[np.uint64]:
    """The states (blocks, 8) of 64-byte BLAKE2b under ``key`` (1 to 64 bytes) and salts ``0``, ``1`` ..."""
    states = np.empty((blocks, 8), dtype=np.uint64)
    padded = np.frombuffer(bytearray(key.ljust(BLOCK_BYTES, b"\0")), dtype=np.dtype("<u8"))
    for block in range(blocks):
        parameters = bytes([64, len(key), 1, 1]).ljust(32, b"\0") + str(block).encode().ljust(32, b"\0")
        begun = _INITIAL ^ np.frombuffer(parameters, dtype=np.dtype("<u8"))
        compress(begun, padded, BLOCK_BYTES, False, states[block])
    return states
