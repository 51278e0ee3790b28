"""Rows of many files without content, put straight into the database: an upload of each would take hours."""

from collections.abc import Iterator

RARE_EVERY = 400
"""Of so many files, one has the purpose `batch`."""
ROWS_AT_ONCE = 10_000


def statements(project: str, count: int) -> Iterator[str]:
    """The SQL for `count` files, a multiple of 10,000, with ids `file-0` and on; four were made in each second."""
    for start in range(0, count, ROWS_AT_ONCE):
        numbers = f"WITH RECURSIVE n(i) AS (SELECT {start} UNION ALL SELECT i + 1 FROM n WHERE i < {start + ROWS_AT_ONCE - 1})"
        yield f"INSERT INTO blobs (key, project_id, state) {numbers} SELECT 'b' || i, '{project}', 'live' FROM n"
        yield (
            "INSERT INTO files (id, project_id, filename, purpose, bytes, created_at, status, sha256, blob_key) "
            f"{numbers} SELECT 'file-' || i, '{project}', 'a', "
            f"CASE i - i / {RARE_EVERY} * {RARE_EVERY} WHEN 0 THEN 'batch' ELSE 'user_data' END, "
            "1, 1600000000 + i / 4, 'processed', '', 'b' || i FROM n"
        )
