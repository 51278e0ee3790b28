"""Objects of the domain as shapes of the wire that several resources send."""

from filestead import wire
from filestead.domain.files.model import File


def file_to_wire(file: File) -> wire.FileObject:
    """Build a file."""
    return wire.FileObject(
        id=file.id,
        purpose=file.purpose,
        filename=file.filename,
        bytes=file.bytes,
        created_at=file.created_at,
        expires_at=file.expires_at,
        status=file.status,
        status_details=file.status_details,
    )
