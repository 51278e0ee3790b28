"""Pictures of screens as PNG files with a palette, which are a quarter of the size that a browser makes them."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 6: 4}
MAX_COLOURS = 256
FREQUENT_COLOURS = 64

Pixels = NDArray[np.uint8]


def with_palette(data: bytes) -> bytes:
    """The same picture in 256 colours; the others, of the edges of letters, become the nearest one."""
    pixels = _decode(data)[:, :, :3]
    packed = pixels[:, :, 0].astype(np.int32) << 16 | pixels[:, :, 1].astype(np.int32) << 8 | pixels[:, :, 2]
    all_colours, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = _palette(all_colours, counts)
    indices = np.array([_nearest(colour, colours) for colour in all_colours], np.uint8)[where]
    height, width = packed.shape
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = indices.reshape(height, width)
    palette = b"".join(struct.pack(">I", int(colour))[1:] for colour in colours)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"PLTE", palette), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _palette(colours: NDArray[np.int32], counts: NDArray[np.intp]) -> NDArray[np.int32]:
    """The most frequent colours, then those that would change most: a word in red stays red among much grey."""
    chosen = list(colours[np.argsort(-counts)[:FREQUENT_COLOURS]])
    error = np.min([_distances(colour, colours) for colour in chosen], axis=0)
    while len(chosen) < MAX_COLOURS and error.any():
        chosen.append(colours[np.argmax(error * counts)])
        error = np.minimum(error, _distances(chosen[-1], colours))
    return np.array(chosen)


def _nearest(colour: np.int32, colours: NDArray[np.int32]) -> np.intp:
    return np.argmin(_distances(colour, colours))


def _distances(colour: np.int32, colours: NDArray[np.int32]) -> NDArray[np.int32]:
    parts = [((colours >> shift) & 255) - ((colour >> shift) & 255) for shift in (16, 8, 0)]
    return parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = len(SIGNATURE)
    while start < len(data):
        (length,) = struct.unpack_from(">I", data, start)
        yield data[start + 4 : start + 8], data[start + 8 : start + 8 + length]
        start += 12 + length


def _decode(data: bytes) -> Pixels:
    """The pixels of a picture with 8 bits a channel, as a browser makes it."""
    found = list(_chunks(data))
    width, height, depth, kind = struct.unpack_from(">IIBB", dict(found)[b"IHDR"])
    assert depth == 8
    size = CHANNELS[kind]
    packed = zlib.decompress(b"".join(content for name, content in found if name == b"IDAT"))
    raw = np.frombuffer(packed, np.uint8).reshape(height, 1 + width * size)
    above = np.zeros((width, size), np.uint8)
    rows = []
    for line in raw:
        above = _unfilter(int(line[0]), line[1:].reshape(width, size), above)
        rows.append(above)
    return np.stack(rows)


def _unfilter(kind: int, line: Pixels, above: Pixels) -> Pixels:
    if kind == 0:
        return line
    if kind == 1:
        return np.cumsum(line, axis=0, dtype=np.uint8)
    if kind == 2:
        return line + above
    row = np.zeros_like(line).astype(np.int32)
    left = upper_left = np.zeros(line.shape[1], np.int32)
    for column in range(len(line)):
        up = above[column].astype(np.int32)
        guess = (left + up) // 2 if kind == 3 else _paeth(left, up, upper_left)
        left = row[column] = (line[column] + guess) & 255
        upper_left = up
    return row.astype(np.uint8)


def _paeth(left: NDArray[np.int32], up: NDArray[np.int32], upper_left: NDArray[np.int32]) -> NDArray[np.int32]:
    guess = left + up - upper_left
    distances = np.stack([abs(guess - left), abs(guess - up), abs(guess - upper_left)])
    nearest: NDArray[np.int32] = np.choose(np.argmin(distances, axis=0), [left, up, upper_left])
    return nearest
