"""The JSON shapes of uploads in parts. Member order is the order seen on the wire.

Source: `Upload` and `UploadPart` of the official description, and recorded responses: the key `file` is absent unless
the upload is completed. `encode` of `wire` writes them.
"""

from typing import Literal

import msgspec

from filestead.wire import FileObject


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload. `bytes` is the declared size; times are Unix seconds."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str
    expires_at: int
    file: FileObject | msgspec.UnsetType = msgspec.UNSET


class UploadPart(msgspec.Struct, frozen=True, kw_only=True):
    """A stored part."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
