"""Planted bugs in the stores of bytes and in the engine of the database: syncs, orders, digests, full disks."""

from tests.planted.bug import Bug, Edit

KILLS = "tests/crash/test_kill_points.py"
DISK = "tests/crash/test_disk_faults.py"
POWER = "tests/crash/test_power_loss.py::test_what_was_acknowledged_survives_a_power_failure"
LOCAL = "blobs/local/store.py"
SQLITE = "database/engines/sqlite.py"

REMEMBER = Edit(
    "domain/files/service.py",
    "        return await self._repository.get(principal.project_id, file_id)\n",
    "        seen = self.__dict__.setdefault('seen', {})\n        if file_id not in seen:\n"
    "            seen[file_id] = await self._repository.get(principal.project_id, file_id)\n"
    "        return seen[file_id]\n",
)

STORAGE_BUGS = (
    Bug(
        *("B-01", "R-02", "The file of an upload is not synced."),
        (Edit(LOCAL, "            os.fsync(self._fd)\n", ""),),
        (f"{KILLS}::test_the_steps_of_an_upload[small]",),
    ),
    Bug(
        *("B-02", "R-02", "The directory of a new blob is not synced."),
        (Edit(LOCAL, "            sync_directory(self._folder, self._observer)\n", ""),),
        (f"{KILLS}::test_the_steps_of_an_upload[small]",),
    ),
    Bug(
        *("B-03", "R-02", "The directory of a new blob is synced after the commit."),
        (
            Edit(
                LOCAL,
                "            sync_directory(self._folder, self._observer)\n",
                "            threading.Timer(0.2, sync_directory, [self._folder]).start()\n",
            ),
            Edit(LOCAL, "import stat\n", "import stat\nimport threading\n"),
        ),
        (f"{KILLS}::test_the_steps_of_an_upload[small]",),
    ),
    Bug(
        *("B-04", "R-02", "SQLite runs with synchronous=NORMAL."),
        (Edit(SQLITE, '"synchronous=FULL", ', '"synchronous=NORMAL", '),),
        ("tests/unit/test_schema.py::test_the_settings_that_durability_needs",),
    ),
    Bug(
        *("B-05", "R-01", "A file is published before its blob is complete."),
        (
            Edit(
                LOCAL,
                "            size: int = await asyncio.wrap_future(job)\n",
                "            size: int = upload._size or await asyncio.wrap_future(job)\n",
            ),
        ),
        (f"{KILLS}::test_the_steps_of_an_upload[large]",),
    ),
    Bug(
        *("B-06", "R-04", "The object of a completed multipart upload is not compared with what was sent."),
        (
            Edit(
                "blobs/s3/uploads.py",
                "                await self._verifier.verify(path, checksum.size, checksum.multipart_etag)\n",
                "",
            ),
        ),
        (
            "tests/stores/test_s3_faults.py::test_a_bit_that_flips_on_the_way_in_is_found_before_put_returns[False-20971527]",
        ),
    ),
    Bug(
        *("B-07", "R-10", "A sync that failed is tried again."),
        (
            Edit(
                LOCAL,
                "            os.fsync(self._fd)\n",
                "            try:\n                os.fsync(self._fd)\n"
                "            except OSError:\n                os.fsync(self._fd)\n",
            ),
        ),
        (f"{DISK}::test_a_system_call_that_fails_once[fsync of the file]",),
    ),
    Bug(
        *("B-08", "R-10", "An error of closing the file is ignored."),
        (
            Edit(
                LOCAL,
                "            os.close(fd)\n            os.rename(",
                "            with contextlib.suppress(OSError):\n                os.close(fd)\n            os.rename(",
            ),
        ),
        (f"{DISK}::test_a_system_call_that_fails_once[close of the file]",),
    ),
    Bug(
        *("B-09", "R-01", "The response is sent before the commit."),
        (
            Edit(
                SQLITE,
                '                connection.execute("COMMIT")\n',
                "                deliver_outcomes(group)\n                time.sleep(0.1)\n"
                '                connection.execute("COMMIT")\n',
            ),
        ),
        ("tests/crash/test_inline_kill_points.py::test_the_steps_of_an_upload",),
    ),
    Bug(
        *("B-10", "R-01", "A blob is deleted before the row of its file."),
        (
            Edit(
                "domain/files/service.py",
                "                return await self._repository.delete(principal.project_id, file_id)\n",
                "                await self._blobs.delete((await self.get(principal, file_id)).blob_key)\n"
                "                return await self._repository.delete(principal.project_id, file_id)\n",
            ),
        ),
        (f"{KILLS}::test_the_steps_of_a_delete",),
    ),
    Bug(
        *("B-11", "R-06", "The delete of a file does not detach it from vector stores."),
        (Edit(SQLITE, '"foreign_keys=ON", ', '"foreign_keys=OFF", '),),
        ("tests/conformance/test_cascade.py::test_a_deleted_file_is_in_no_store[sqlite]",),
    ),
    Bug(
        *("B-24", "R-11", "A connection is used again in the state in which a failed operation left it."),
        (
            Edit(
                "database/engines/postgres/database.py",
                "            if not _reset_connection(connection, error):\n",
                "            if not _reset_connection and error is not None:\n",
            ),
        ),
        ("tests/nodes/test_failures.py::test_an_operation_that_raises_is_rolled_back",),
        error="StorageFailed",
    ),
    Bug(
        *("B-29", "R-04", "The last block of an object is sent before its digest is compared."),
        (
            Edit(
                "domain/files/content.py",
                "        if digest.hexdigest() != part.sha256:\n            raise FileCorrupt(name)\n"
                "        if held is not None:\n            yield held\n",
                "        if held is not None:\n            yield held\n"
                "        if digest.hexdigest() != part.sha256:\n            raise FileCorrupt(name)\n",
            ),
        ),
        ("tests/stores/test_reads.py::test_wrong_bytes_never_end_cleanly[in the store-1000]",),
    ),
    Bug(
        *("B-31", "R-10", "A store that has failed takes uploads without a probe."),
        (
            Edit(
                "blobs/health.py",
                "        self._last_error = str(error)\n        self._observer.",
                "        self._observer.",
            ),
        ),
        (f"{DISK}::test_a_failing_system_call[fsync of the file-small]",),
    ),
    Bug(
        *("B-32", "R-09", "Uploads take the reserve of the disk."),
        (Edit("blobs/local/volume.py", " < size + self._reserve_bytes:", " < size:"),),
        (f"{DISK}::test_uploads_leave_the_reserve",),
    ),
    Bug(
        *("B-33", "R-17", "An upload that breaks off leaves its staging file."),
        (Edit(LOCAL, "                _unlink(self._path)\n", "                pass\n"),),
        ("tests/conformance/test_blob_store.py::test_a_cancelled_put_leaves_no_blob[local-3]",),
    ),
    Bug(
        *("B-34", "R-04", "A blob that is too short ends a download cleanly."),
        (Edit("domain/files/content.py", "        if left:\n            raise FileCorrupt(name)\n", ""),),
        ("tests/stores/test_reads.py::test_a_blob_that_shrinks_while_it_is_read_is_corrupt",),
    ),
    Bug(
        *("B-35", "R-12", "The breaker of the object store never opens."),
        (Edit("blobs/breaker.py", "        self._failures += 1\n", ""),),
        ("tests/stores/test_s3.py::test_the_breaker_lets_one_call_try_again",),
    ),
    Bug(
        *("B-53", "R-02", "The file of an upload is not synced: what a power failure leaves of it."),
        (Edit(LOCAL, "            os.fsync(self._fd)\n", ""),),
        (POWER,),
    ),
    Bug(
        *("B-54", "R-02", "The directory of a new blob is not synced: what a power failure leaves of it."),
        (Edit(LOCAL, "            sync_directory(self._folder, self._observer)\n", ""),),
        (POWER,),
    ),
    Bug(
        *("B-55", "R-02", "SQLite syncs nothing before a checkpoint: what a power failure leaves of its commits."),
        (Edit(SQLITE, '"synchronous=FULL", ', '"synchronous=NORMAL", '),),
        (POWER,),
    ),
    Bug(
        *("B-56", "R-02", "SQLite syncs nothing: what a power failure leaves of its commits."),
        (Edit(SQLITE, '"synchronous=FULL", ', '"synchronous=OFF", '),),
        (POWER,),
    ),
    Bug(
        *("B-57", "R-02", "The deletion of a blob is not synced before its row is deleted."),
        (Edit(LOCAL, "            sync_directory(folder, self._observer)\n", ""),),
        (POWER,),
    ),
    Bug(
        *("B-58", "R-05", "A node remembers the files that it has read."),
        (REMEMBER,),
        ("tests/nodes/test_linearizability.py::test_histories_of_concurrent_clients_are_linearizable",),
    ),
    Bug(
        *("B-60", "R-21", "Each download holds blocks of full size, however many there are."),
        (Edit("blobs/blocks.py", "min(LARGEST_BYTES, TOTAL_BYTES // max(1, open_reads))", "LARGEST_BYTES"),),
        ("tests/attack/test_transfer_memory.py::test_memory_of_many_slow_transfers_is_bounded[25165824]",),
    ),
    Bug(
        *("B-61", "R-25", "A migration of SQLite is not one transaction."),
        (Edit("database/schema.py", '    "BEGIN IMMEDIATE",\n', '    "SELECT 1",\n'),),
        (
            "tests/migration/test_killed_upgrades.py::test_an_upgrade_that_is_killed_is_completed_by_the_next[sqlite-0001]",
        ),
    ),
    Bug(
        *("B-75", "R-10", "A full disk of the database is reported as one that fails."),
        (Edit(SQLITE, "raise StorageFull(f\"the database's disk", "raise StorageFailed(f\"the database's disk"),),
        ("tests/crash/test_store_disk_faults.py::test_a_part_that_cannot_be_stored[commit, disk full]",),
    ),
    Bug(
        *("B-77", "R-26", "The paths of blobs are made by `pathlib`, which interns their keys."),
        (
            Edit(
                "blobs/local/volume.py",
                'return f"{self.blob_folder(key)}/{key}"',
                "return str(Path(self.blob_folder(key), key))",
            ),
        ),
        ("tests/attack/test_interned_strings.py::test_nothing_of_a_client_is_interned",),
    ),
)
