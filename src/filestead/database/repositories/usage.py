"""What the projects' usage must be, as a sum over the rows that it stands for."""

from sqlalchemy import ColumnElement, func, literal_column, select

from filestead.database.tables import batches, detached_files, files, projects, vector_store_files


def used_bytes() -> ColumnElement[int]:
    """What `bytes_used` of a row of `projects` must be: its files, and the index of those in vector stores.

    The index of a detached file counts until the sweep has deleted it.
    """
    project = projects.c.id
    parts = (
        select(func.sum(files.c.bytes)).where(files.c.project_id == project),
        select(func.sum(vector_store_files.c.usage_bytes)).where(vector_store_files.c.project_id == project),
        select(func.sum(detached_files.c.usage_bytes)).where(detached_files.c.project_id == project),
    )
    one, two, three = (func.coalesce(part.scalar_subquery(), literal_column("0")) for part in parts)
    return one + two + three


def journal_bytes() -> ColumnElement[int]:
    """What the batches of a row of `projects` have reserved for their results."""
    reserved = select(func.sum(batches.c.bytes_reserved)).where(
        batches.c.project_id == projects.c.id, batches.c.bytes_reserved > literal_column("0")
    )
    return func.coalesce(reserved.scalar_subquery(), literal_column("0"))
