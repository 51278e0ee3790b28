"""Which blobs must stay although no file has them: the inputs of batches that have not ended."""

from sqlalchemy import ColumnElement, exists, or_

from filestead.database.tables import batches, blob_parts, blobs


def is_pinned() -> ColumnElement[bool]:
    """Whether a batch needs a row of `blobs`: as its input, or as a part of it."""
    part_of_input = (
        exists()
        .where(blob_parts.c.part_key == blobs.c.key, blob_parts.c.blob_key == batches.c.input_blob_key)
        .correlate(blobs)
    )
    return or_(exists().where(batches.c.input_blob_key == blobs.c.key), part_of_input)
