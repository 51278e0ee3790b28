"""The table of purposes: who may set one, the check of its content, and whether the hosted service allows downloads.

Sources: `CreateFileRequest` and `OpenAIFile` of the official description, and recorded responses.
"""

from dataclasses import dataclass

from filestead.domain.access import Principal, Scope
from filestead.domain.errors import DownloadRefused, UnknownPurpose, UnsupportedExtension
from filestead.domain.files.model import Limits
from filestead.domain.jsonl.kinds import ContentCheck


@dataclass(frozen=True, slots=True)
class PurposeRule:
    """One row of the table."""

    check: ContentCheck = ContentCheck.ANY
    system: bool = False
    """Only a key with the scope `files:system` may create it."""
    hosted_download: bool = True
    """Whether the hosted service allows such a file to be downloaded."""


# The first six are in the order of the hosted service's error message.
RULES: dict[str, PurposeRule] = {
    "fine-tune": PurposeRule(check=ContentCheck.TRAINING),
    "assistants": PurposeRule(check=ContentCheck.EXTENSION, hosted_download=False),
    "batch": PurposeRule(check=ContentCheck.BATCH),
    "user_data": PurposeRule(hosted_download=False),
    "vision": PurposeRule(),
    "evals": PurposeRule(check=ContentCheck.EVALS, hosted_download=False),
    "assistants_output": PurposeRule(system=True),
    "batch_output": PurposeRule(system=True),
    "fine-tune-results": PurposeRule(system=True),
}

ALL_PURPOSES = tuple(RULES)
INPUT_PURPOSES = tuple(name for name, rule in RULES.items() if not rule.system)

ASSISTANTS_EXTENSIONS = (
    *("c", "cpp", "css", "csv", "docx", "gif", "go", "html", "java", "jpeg", "jpg", "js", "json", "md", "pdf", "php"),
    *("pkl", "png", "pptx", "py", "rb", "tar", "tex", "ts", "txt", "webp", "xlsx", "xml", "zip"),
)


def require_creatable(purpose: str, principal: Principal) -> PurposeRule:
    """The rule of a purpose that this key may set; `UnknownPurpose` otherwise."""
    allowed = ALL_PURPOSES if Scope.SYSTEM in principal.scopes else INPUT_PURPOSES
    if purpose not in allowed:
        raise UnknownPurpose(purpose, allowed)
    return RULES[purpose]


def require_known(purpose: str) -> str:
    """A purpose that a listing may filter by; `UnknownPurpose` otherwise."""
    if purpose not in RULES:
        raise UnknownPurpose(purpose, ALL_PURPOSES)
    return purpose


def size_limit(purpose: str | None, limits: Limits) -> int:
    """Maximum size of a file of this purpose in bytes; the general limit while the purpose is unknown."""
    if purpose == "batch":
        return min(limits.max_batch_file_bytes, limits.max_file_bytes)
    return limits.max_file_bytes


def require_extension(filename: str) -> None:
    """An assistants file has a listed extension or none at all; `UnsupportedExtension` otherwise."""
    stem, dot, extension = filename.rpartition(".")
    if dot and stem and extension.lower() not in ASSISTANTS_EXTENSIONS:
        raise UnsupportedExtension(extension, ASSISTANTS_EXTENSIONS, filename)


def require_download(purpose: str, *, as_hosted: bool) -> None:
    """Raise `DownloadRefused` if downloads follow the hosted service, which does not allow this purpose."""
    rule = RULES.get(purpose)
    if as_hosted and rule is not None and not rule.hosted_download:
        raise DownloadRefused(purpose)
