"""Planted bugs in the rows: expiry, leases, quota, jobs, batches, uploads in parts, idempotency keys."""

from tests.planted.bug import Bug, Edit

FILES = "tests/conformance/test_file_repository.py"
JOBS = "tests/conformance/test_job_repository.py"
UPLOADS = "tests/conformance/test_upload_repository.py"
BATCHES = "tests/conformance/test_batch_repository.py"
CLOCKS = "tests/conformance/test_clock.py"
RETRIES = "tests/conformance/test_retries.py"
STATEMENTS = "database/repositories"

ROW_BUGS = (
    Bug(
        *("B-12", "R-14", "Expiry goes by the clock of the node."),
        (
            Edit(
                f"{STATEMENTS}/files/rows.py",
                "files.c.expires_at > now())",
                "files.c.expires_at > int(__import__('time').time()))",
            ),
        ),
        (f"{FILES}::test_nothing_is_visible_after_its_expiry_swept_or_not[sqlite]",),
        error="FileNotFound",
    ),
    Bug(
        *("B-13", "R-18", "A sweep claims blobs without a lease."),
        (
            Edit(
                f"{STATEMENTS}/files/blobs.py",
                "values(state=DELETED, lease_until_us=lease, bytes_reserved=0)",
                "values(state=DELETED, lease_until_us=now_us(), bytes_reserved=0)",
            ),
        ),
        (f"{FILES}::test_a_claimed_blob_is_not_claimed_again_until_its_lease_expires[sqlite]",),
    ),
    Bug(
        *("B-14", "R-08", "A sweep does not check again that a blob is unused."),
        (
            Edit(
                f"{STATEMENTS}/files/blobs.py",
                "delete(blobs).where(keys, blobs.c.state != LIVE).returning(",
                "delete(blobs).where(keys).returning(",
            ),
        ),
        (f"{FILES}::test_delete_blob_rows_keeps_blobs_of_visible_files[sqlite]",),
        error="StorageFailed",
    ),
    Bug(
        *("B-15", "R-08", "A sweep takes uploads that last longer than a lease."),
        (
            Edit(
                f"{STATEMENTS}/files/blobs.py",
                "update(blobs).where(keys, pending).values(lease_until_us=lease)",
                "update(blobs).where(keys, pending).values(lease_until_us=blobs.c.lease_until_us)",
            ),
        ),
        (f"{FILES}::test_a_lease_protects_a_pending_upload_and_can_be_renewed[sqlite]",),
    ),
    Bug(
        *("B-16", "I-12", "The quota is checked by one statement and charged by another."),
        (
            Edit(
                f"{STATEMENTS}/files/limits.py",
                '.where(project, or_(needed == 0, charged + needed - settle <= int_param("quota")))',
                ".where(project, or_(needed == 0, select(seen.c.bytes_used + seen.c.bytes_reserved)"
                '.where(seen.c.id == bindparam("project_id")).scalar_subquery()'
                ' + needed - settle <= int_param("quota")))',
            ),
            Edit(
                f"{STATEMENTS}/files/limits.py",
                "        charged = projects.c.bytes_used + projects.c.bytes_reserved\n",
                "        charged = projects.c.bytes_used + projects.c.bytes_reserved\n"
                '        seen = projects.alias("seen")\n',
            ),
        ),
        (f"{FILES}::test_uploads_that_end_at_once_without_a_reservation_fill_the_quota_exactly[postgres]",),
    ),
    Bug(
        *("B-36", "R-07", "An expired file is visible until it is swept."),
        (
            Edit(
                f"{STATEMENTS}/files/rows.py",
                "or_(files.c.expires_at.is_(None), files.c.expires_at > now())",
                "or_(files.c.expires_at.is_(None), files.c.expires_at > 0)",
            ),
        ),
        (f"{FILES}::test_nothing_is_visible_after_its_expiry_swept_or_not[sqlite]",),
    ),
    Bug(
        *("B-37", "R-14", "A jump of the clock deletes files for good."),
        (
            Edit(
                "domain/clock.py",
                "proven = min(now_us, max(recorded.proven_us, self._expected(now_us, recorded)))",
                "proven = now_us",
            ),
        ),
        (f"{CLOCKS}::test_a_clock_jump_hides_files_and_setting_the_clock_back_shows_them_again[sqlite-running]",),
    ),
    Bug(
        *("B-38", "R-17", "An upload that broke off keeps its reservation."),
        (
            Edit(
                f"{STATEMENTS}/files/uploads.py",
                "                self._quota.release(connection, project_id=project_id, used=0, reserved=reserved)\n",
                "",
            ),
        ),
        (f"{FILES}::test_abandon_and_delete_release_the_quota[sqlite]",),
    ),
    Bug(
        *("B-39", "R-16", "An idempotency key is recorded, but not looked for."),
        (
            Edit(
                f"{STATEMENTS}/files/uploads.py",
                "        if record is None or sought is None:\n",
                "        if record is None or sought is None or record:\n",
            ),
        ),
        ("tests/conformance/test_idempotency.py::test_the_same_form_returns_the_earlier_file[sqlite]",),
        error="UploadLost",
    ),
    Bug(
        *("B-40", "R-16", "Another form with the same idempotency key gets the file of the first."),
        (
            Edit(
                f"{STATEMENTS}/files/uploads.py",
                "        if fingerprint != sought.fingerprint:\n            raise IdempotencyKeyReused(file_id)\n",
                "",
            ),
        ),
        (
            "tests/conformance/test_idempotency.py"
            "::test_another_form_with_the_same_key_is_rejected_without_effect[sqlite]",
        ),
    ),
    Bug(
        *("B-41", "R-18", "A worker that has lost its lease commits its effect."),
        (
            Edit(
                f"{STATEMENTS}/jobs.py",
                'held = and_(jobs.c.id == int_param("id"), jobs.c.token == bindparam("token"))\n        self._finish',
                'held = jobs.c.id == int_param("id")\n        self._finish',
            ),
        ),
        (f"{JOBS}::test_a_worker_that_has_lost_its_lease_changes_nothing[sqlite]",),
    ),
    Bug(
        *("B-42", "R-18", "A claimed job has no lease, and a second worker claims it."),
        (
            Edit(
                f"{STATEMENTS}/jobs.py",
                'token=bindparam("new_token"), due_us=now_us() + int_param("lease_us"))',
                'token=bindparam("new_token"), due_us=now_us() + 0 * int_param("lease_us"))',
            ),
        ),
        (f"{JOBS}::test_a_lease_ends_unless_it_is_renewed[sqlite]",),
        error="ValueError",
    ),
    Bug(
        *("B-43", "R-18", "Results that are appended again after a lost response are in the journal twice."),
        (
            Edit(
                f"{STATEMENTS}/batches/journal.py",
                "return [block for block in filled if block.lines[0] not in known]",
                "return [block for block in filled if block.lines[0] not in known or True]",
            ),
        ),
        (f"{BATCHES}::test_case_26_the_journal_is_what_was_appended_in_any_order_after_any_loss[sqlite]",),
        error="StorageFailed",
    ),
    Bug(
        *("B-44", "R-18", "Lines of a batch that have a result already are sent again after a restart."),
        (
            Edit(
                "worker/batches/runner.py",
                "        run.mark_done(await self._batches.done_lines(task.batch.id))\n",
                "",
            ),
        ),
        ("tests/batches/test_ends.py::test_a_batch_survives_a_stop_of_its_server",),
    ),
    Bug(
        *("B-45", "I-11", "The parts of an upload may exceed its declared bytes."),
        (
            Edit(
                f"{STATEMENTS}/uploads/rows.py",
                '.where(one, uploads.c.bytes_received + int_param("more") <= uploads.c.bytes)',
                ".where(one)",
            ),
        ),
        (f"{UPLOADS}::test_parts_never_exceed_the_declared_bytes_under_any_race[sqlite]",),
    ),
    Bug(
        *("B-46", "R-16", "A completion that is sent again is refused."),
        (
            Edit(
                f"{STATEMENTS}/uploads/repository.py",
                "        if row.completed_with == digest:\n",
                '        if row.completed_with == "":\n',
            ),
        ),
        (f"{UPLOADS}::test_completing_again_gives_the_same_file_and_other_parts_are_refused[sqlite]",),
        error="UploadNotPending",
    ),
    Bug(
        *("B-47", "R-06", "A search finds files that have been deleted or have expired."),
        (Edit(f"{STATEMENTS}/vector_stores/index.py", "                is_visible(),\n", ""),),
        ("tests/conformance/test_cascade.py::test_an_expired_file_is_in_no_store_before_and_after_the_sweep[sqlite]",),
    ),
    Bug(
        *("B-66", "R-14", "A jump of the clock ends the windows of batches for good."),
        (
            Edit(
                f"{STATEMENTS}/batches/runs.py",
                "        return self._clock.proven_us(connection) // 1_000_000\n",
                '        return int((connection.execute("SELECT filestead_now()", {}).fetchone() or (0,))[0]) // 1_000_000\n',
            ),
        ),
        (f"{CLOCKS}::test_a_clock_jump_ends_no_window_of_a_batch[sqlite-swept]",),
    ),
    Bug(
        *("B-67", "R-14", "A job that was added while the clock was ahead waits for that time."),
        (
            Edit(
                f"{STATEMENTS}/clock.py",
                "            await self._database.write(self._job_times.cap)\n",
                "            pass\n",
            ),
        ),
        (f"{CLOCKS}::test_a_job_of_a_clock_that_was_ahead_is_not_delayed_by_the_jump[sqlite-new-index]",),
        error="ValueError",
    ),
    Bug(
        *("B-68", "R-16", "A first attempt of an upload is taken for one that is sent again."),
        (Edit("domain/attempts.py", "is_retry=attempt.retry_count > 0)", "is_retry=attempt.retry_count >= 0)"),),
        (f"{RETRIES}::test_a_first_attempt_makes_a_file_however_equal_it_is[sqlite-streamed]",),
    ),
    Bug(
        *("B-69", "R-16", "An upload that is sent again gets the file of another API key."),
        (Edit("domain/attempts.py", "json.dumps([key_id, fingerprint])", "json.dumps([fingerprint])"),),
        (f"{RETRIES}::test_another_form_key_or_project_and_a_later_retry_make_files[sqlite-small]",),
    ),
    Bug(
        *("B-70", "R-16", "Small uploads of one transaction are not found when they are sent again."),
        (
            Edit(
                f"{STATEMENTS}/files/uploads.py",
                "[(retry.record, file_id) for retry, file_id in attempts if retry is not None]",
                "[]",
            ),
        ),
        (f"{RETRIES}::test_small_first_attempts_in_one_transaction_are_each_found_again[sqlite]",),
    ),
    Bug(
        *("B-71", "R-16", "A deletion that is sent again finds no file."),
        (Edit("api/files.py", "is_retry=is_retry(request)", "is_retry=False"),),
        ("tests/api/test_retries.py::test_a_deletion_that_is_sent_again_succeeds",),
    ),
    Bug(
        *("B-74", "R-16", "A batch that is sent again is created twice."),
        (
            Edit(
                f"{STATEMENTS}/batches/creating.py",
                "            self._records.save_latest(connection, project_id, [(new.retry.record, batch_id)])\n",
                "            pass\n",
            ),
        ),
        ("tests/api/test_retries.py::test_a_creation_that_is_sent_again_creates_nothing[batch]",),
    ),
    Bug(
        *("B-73", "I-16", "A batch ends without its event."),
        (
            Edit(
                f"{STATEMENTS}/batches/runs.py",
                '        self._audit.record(connection, EventType(f"batch.{status.value}"), job.subject, project_id)\n',
                "",
            ),
        ),
        ("tests/conformance/test_audit_events.py::test_each_type_of_event_occurs[sqlite]",),
    ),
    Bug(
        *("B-76", "R-18", "A job is given up after its first failure."),
        (
            Edit(
                "worker/worker.py",
                "    return _policy(job).is_last(job.attempts) and not isinstance(error, StoreUnavailable)\n",
                "    return not isinstance(error, StoreUnavailable)\n",
            ),
        ),
        ("tests/crash/test_store_disk_faults.py::test_a_job_whose_effect_cannot_be_stored_is_repeated[index-EIO]",),
    ),
)
