"""The kinds of content that a file may be checked as."""

from enum import StrEnum


class ContentCheck(StrEnum):
    """Which content check a purpose asks for."""

    ANY = "any"
    EXTENSION = "extension"
    BATCH = "batch"
    TRAINING = "training"
    EVALS = "evals"
