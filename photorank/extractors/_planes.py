"""Exact arithmetic on photo planes for the statistics: what is looked at, differences, sums, block transforms.

Luma is held in eighths of a grey level as int16, so that sums are sums of whole numbers. These do not depend on their
order, and so neither on threads, on memory alignment nor on a BLAS library.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.int16]  # (tile, row, column)
Floats = npt.NDArray[np.float32]
Values = dict[str, float]  # statistics by name

LEVEL = 8  # one grey level
CELL = 16  # side of a cell: two JPEG blocks, one block of half-size chroma
WHOLE = 480_000  # a photo of so many pixels or fewer is looked at whole,
TILE, TILES = 192, 12  # a larger one in at most so many tiles of that side
BLOCKS = 1536  # of more blocks than this, only every second, third … row of blocks is transformed

# The 8 × 8 cosine transform of H.265, whose rows are whole numbers: 64 √8 times the orthonormal one.
_COSINES = np.array(
    [
        [64, 64, 64, 64, 64, 64, 64, 64],
        [89, 75, 50, 18, -18, -50, -75, -89],
        [83, 36, -36, -83, -83, -36, 36, 83],
        [75, -18, -89, -50, 50, 89, 18, -75],
        [64, -64, -64, 64, 64, -64, -64, 64],
        [50, -89, 18, 75, -75, -18, 89, -50],
        [36, -83, 83, -36, -36, 83, -83, 36],
        [18, -50, 75, -89, 89, -75, 50, -18],
    ],
    np.float32,
)
_SHRINK = 32  # between the two passes, so that both stay below 2**24, where float32 still holds every whole number
COEFFICIENT = LEVEL * 64 * 64 * 8 // _SHRINK  # an orthonormal coefficient of one grey level, as `cosines` returns it


def tiles(plane: Bytes) -> Bytes:
    """(tile, row, column): the whole plane, or tiles spread evenly over it, on the grid of its JPEG blocks."""
    height, width = plane.shape
    if height * width <= WHOLE:
        return np.ascontiguousarray(plane[None, : height // CELL * CELL, : width // CELL * CELL])
    rows = min(max(1, height // TILE), 4 if height > width else 3)
    columns = min(max(1, width // TILE), TILES // rows)
    h, w = (min(TILE, side // CELL * CELL) for side in (height, width))
    tops = [(height - h) * (2 * i + 1) // (2 * rows) // 8 * 8 for i in range(rows)]
    lefts = [(width - w) * (2 * i + 1) // (2 * columns) // 8 * 8 for i in range(columns)]
    # Stacked planes keep their own memory order, which would change the order of sums.
    return np.ascontiguousarray(np.stack([plane[top : top + h, left : left + w] for top in tops for left in lefts]))


def luma(red: Bytes, green: Bytes, blue: Bytes) -> Planes:
    """Rec. 601 luma in eighths of a grey level, from weights of 256 that just fit 16 bits."""
    r, g, b = (plane.astype(np.uint16) for plane in (red, green, blue))
    r *= 77
    g *= 150
    b *= 29
    r += g
    r += b
    r >>= 5
    return r.view(np.int16)


def step(a: Planes, axis: int, order: int = 1) -> Planes:
    """The difference to the next row (axis 1) or column (2); the last `order` places, which have no next one, are 0."""
    out = np.empty_like(a)
    ahead = 1 if axis == 2 else a.shape[2]
    # One long row is three times quicker than many short ones.
    np.subtract(a.reshape(-1)[ahead:], a.reshape(-1)[:-ahead], out=out.reshape(-1)[:-ahead])
    out[(slice(None),) * axis + (slice(-order, None),)] = 0
    return out


def mean(a: Planes, rows: int = 0, columns: int = 0) -> float:
    """Mean in grey levels, without so many last rows and columns of each tile, which `step` left 0."""
    n, h, w = a.shape
    # In parts, so that no sum overflows; what is small enough not to need them may not divide into sixteen.
    parts: list[int] = np.add.reduce(a.reshape(math.gcd(a.size, 16), -1), axis=1, dtype=np.int32).tolist()
    return float(sum(parts)) / float(n * (h - rows) * (w - columns) * LEVEL)


def log_ratio(a: float, b: float, floor: float = 0.05) -> float:
    """log of a over b, both raised by the floor, so that the ratio of two that are nearly 0 is nearly 1."""
    return math.log((a + floor) / (b + floor))


def mean_square(a: Planes) -> float:
    """Mean square in squared grey levels."""
    squares = a.astype(np.float32)
    squares *= squares
    return float(squares.sum()) / float(a.size * LEVEL**2)


def cells(a: Planes) -> npt.NDArray[np.float64]:
    """The mean of each cell in grey levels, as one list."""
    n, h, w = a.shape
    rows = np.add.reduce(a.view(np.uint16).reshape(n * h // CELL, CELL, w), axis=1, dtype=np.uint16)
    sums = np.add.reduce(rows.T.astype(np.int32, order="C").reshape(w // CELL, CELL, -1), axis=1)
    return np.ravel(sums / (CELL * CELL * LEVEL))


def half(a: Planes) -> Planes:
    """Half the size: the mean of 2 × 2."""
    pairs = a[:, 0::2] + a[:, 1::2]
    return (pairs[:, :, 0::2] + pairs[:, :, 1::2]) >> 2


def shrunk(a: Planes, by: int) -> Planes:
    """At 1/by of the size: the mean of by × by, rounded down."""
    h, w = (side // by * by for side in a.shape[1:])
    total = np.zeros((a.shape[0], h // by, w // by), np.int32)
    for row in range(by):
        for column in range(by):
            total += a[:, row:h:by, column:w:by]
    return (total // (by * by)).astype(np.int16)


def by_phase(a: Planes, axis: int) -> list[float]:
    """The mean, in grey levels, of the differences along an axis at each of the eight places in a JPEG block."""
    n, h, w = a.shape
    if axis == 2:
        sums = np.add.reduce(a.reshape(n * h, w), axis=0, dtype=np.int32).reshape(-1, 8).sum(0, dtype=np.int64)
    else:
        sums = np.add.reduce(a.reshape(-1, 8 * w), axis=0, dtype=np.int32).reshape(8, w).sum(1, dtype=np.int64)
    blocks, lines = a.shape[axis] // 8, a.size // a.shape[axis]
    # The last difference of each tile is missing, and it is one between two blocks.
    return [int(total) / ((blocks - (place == 7)) * lines * LEVEL) for place, total in enumerate(sums)]


def cosines(a: Planes, shift: int) -> Floats:
    """(8, 8, block): sizes of the cosine coefficients of 8 × 8 blocks, of a grid moved by `shift` pixels both ways."""
    a = a[:, shift : a.shape[1] - shift, shift : a.shape[2] - shift]
    n, h, w = a.shape
    blocks = a.reshape(n, h // 8, 8, w // 8, 8)[:, :: -(-n * h * w // (64 * BLOCKS))]
    once = _COSINES @ np.ascontiguousarray(blocks.transpose(2, 4, 0, 1, 3)).astype(np.float32).reshape(8, -1)
    once *= np.float32(1 / _SHRINK)
    twice: Floats = np.matmul(_COSINES, np.rint(once, out=once).reshape(8, 8, -1))
    np.abs(twice, out=twice)
    return twice
