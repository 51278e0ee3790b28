"""Images are told by their bytes, whatever the name of the file says."""

import base64

IMAGE_TYPES = "PNG, JPEG, GIF and WebP"


def image_type(content: bytes) -> str | None:
    """The media type of an image that models read; None for anything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return None


def data_url(media_type: str, content: bytes) -> str:
    """The content as a data URL."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
