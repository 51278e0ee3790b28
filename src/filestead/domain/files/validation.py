"""What an upload must fulfil before it becomes a file: its form, its size and its lines."""

from collections.abc import Callable
from dataclasses import dataclass

from filestead.domain import attempts
from filestead.domain.access import Principal
from filestead.domain.attempts import ONLY_ATTEMPT, Attempt
from filestead.domain.errors import FaultyLines, NotBatchInput, NotTrainingData
from filestead.domain.files import expiry, filenames, idempotency, purposes
from filestead.domain.files.digester import RunInThread, UploadDigester
from filestead.domain.files.model import CompletedUpload, FieldsBeforeFile, FileStatus, Limits, UploadForm
from filestead.domain.jsonl.checks import LineChecks
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.report import LineReport

JSONL_CHECKS = frozenset({ContentCheck.BATCH, ContentCheck.TRAINING, ContentCheck.EVALS})


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """The operator's choices. `validation` is `openai`, `advise`, `strict` or `hosted`."""

    limits: Limits
    validation: str
    downloads_as_hosted: bool
    inline_bytes: int = 0
    """Uploads whose request has at most so many bytes are stored in the database; 0 for none."""
    match_retries: bool = True
    """Whether what is sent again without an idempotency key is recognized (`attempts`)."""


class UploadValidation:
    """The checks of uploads."""

    def __init__(
        self,
        policy: UploadPolicy,
        *,
        new_file_id: Callable[[], str],
        line_decoders: Decoders,
        run_in_thread: RunInThread,
        run_line_checks: RunInThread,
    ) -> None:
        """`run_line_checks` runs one function at a time: line checks hold the interpreter lock and would compete."""
        self._policy = policy
        self._new_file_id = new_file_id
        self._line_decoders = line_decoders
        self._run_in_thread = run_in_thread
        self._run_line_checks = run_line_checks

    def begin(self, principal: Principal, fields: FieldsBeforeFile, block: int) -> UploadDigester:
        """Check what precedes the file; return a digester that passes on blocks of at least `block` bytes."""
        filenames.clean(fields.filename)
        if fields.expires_after is not None and fields.expires_after.complete:
            expiry.check(fields.expires_after)
        return self._digester(principal, fields, block)

    def complete(
        self,
        principal: Principal,
        fields: FieldsBeforeFile,
        form: UploadForm,
        digester: UploadDigester,
        *,
        blob_key: str,
        attempt: Attempt,
    ) -> CompletedUpload:
        """Check the whole form and the content; return what is to be published."""
        filename = filenames.clean(fields.filename)
        details = self._validate(principal, filename, form, digester)
        key, record, retry = attempt.idempotency_key, None, None
        if attempt != ONLY_ATTEMPT:
            fingerprint = idempotency.fingerprint_of(
                filename=filename, form=form, size=digester.size, sha256=digester.sha256
            )
            if key is not None:
                record = idempotency.record(key, fingerprint)
            elif self._policy.match_retries:
                retry = attempts.creation(attempt, principal.key_id, fingerprint)
        return CompletedUpload(
            id=self._new_file_id(),
            blob_key=blob_key,
            project_id=principal.project_id,
            organization_id=principal.organization_id,
            filename=filename,
            purpose=form.purpose,
            bytes=digester.size,
            sha256=digester.sha256,
            expires_after_seconds=expiry.lifetime(form.purpose, form.expires_after, self._policy.limits),
            # Always: clients poll until a file is processed. Faults are reported in `status_details`.
            status=FileStatus.PROCESSED,
            status_details=details,
            idempotency=record,
            retry=retry,
        )

    def _digester(self, principal: Principal, fields: FieldsBeforeFile, block: int) -> UploadDigester:
        """A digester with every check that the upload may need; all of them while its purpose is unknown."""
        kinds = JSONL_CHECKS
        if fields.purpose is not None:
            kinds = frozenset({purposes.require_creatable(fields.purpose, principal).check}) & JSONL_CHECKS
        return UploadDigester(
            purposes.size_limit(fields.purpose, self._policy.limits),
            LineChecks(self._line_decoders, kinds, hosted=self._policy.validation == "hosted"),
            self._run_in_thread,
            self._run_line_checks,
            block,
        )

    def _validate(self, principal: Principal, filename: str, form: UploadForm, digester: UploadDigester) -> str | None:
        """Raise what is wrong with the upload; otherwise return its `status_details`."""
        rule = purposes.require_creatable(form.purpose, principal)
        expiry.check(form.expires_after)
        digester.require_at_most(purposes.size_limit(form.purpose, self._policy.limits))
        if rule.check is ContentCheck.EXTENSION:
            purposes.require_extension(filename)
        if rule.check not in JSONL_CHECKS:
            return None
        return self._validate_lines(rule.check, digester.checks.report(rule.check), digester.size)

    def _validate_lines(self, check: ContentCheck, report: LineReport, size: int) -> str | None:
        """Reject what the hosted service rejects. Other faults are reported or rejected, as configured."""
        problem = report.problem
        if not report.lines:
            problem = "The file has only blank lines." if size else "The file is empty."
        if check is ContentCheck.BATCH and not report.first_is_object:
            raise NotBatchInput(problem, utf8=report.utf8)
        if check is ContentCheck.TRAINING and (report.not_object or not report.lines):
            raise NotTrainingData(*(report.not_object or (1, "")), problem)
        if self._policy.validation in ("strict", "hosted") and report.details:
            raise FaultyLines(report.details)
        return report.details if self._policy.validation == "advise" else None
