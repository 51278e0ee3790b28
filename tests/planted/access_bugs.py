"""Planted bugs in what a client may do and see: keys, projects, forms, headers, logs."""

from tests.planted.bug import Bug, Edit

ACCESS = "tests/api/test_access.py"
ATTACHED = "tests/conformance/test_attached_files.py"

ACCESS_BUGS = (
    Bug(
        *("B-17", "S-02", "A file of another project can be attached."),
        (
            Edit(
                "database/repositories/vector_stores/attaching.py",
                'files.c.project_id == bindparam("project_id"), is_visible())',
                '(files.c.project_id == bindparam("project_id")) | (files.c.project_id != ""), is_visible())',
            ),
        ),
        (f"{ATTACHED}::test_files_that_cannot_be_attached_stop_all_of_them[sqlite]",),
    ),
    Bug(
        *("B-18", "S-02", "A file of another project is a cursor."),
        (
            Edit(
                "database/repositories/files/listing.py",
                '                files.c.project_id == bindparam("project_id"),\n                or_(',
                "                or_(",
            ),
        ),
        ("tests/conformance/test_file_repository.py::test_another_project_sees_nothing[sqlite]",),
    ),
    Bug(
        *("B-19", "S-03", "A file of another project is refused otherwise than an unknown one."),
        (
            Edit(
                "database/repositories/files/repository.py",
                "        if row is None:\n            raise FileNotFound(file_id)\n        return File(*row)\n",
                '        if row is None and any(file.id == file_id for file in await self.scan_files("", 10_000)):\n'
                "            raise ProjectMismatch\n"
                "        if row is None:\n            raise FileNotFound(file_id)\n        return File(*row)\n",
            ),
            Edit(
                "database/repositories/files/repository.py",
                "import FileNotFound, QuotaExceeded\n",
                "import FileNotFound, ProjectMismatch, QuotaExceeded\n",
            ),
        ),
        (f"{ACCESS}::test_a_foreign_id_is_an_unknown_id[other project-GET-]",),
    ),
    Bug(
        *("B-21", "S-08", "Whether a key is needed is decided by a path that was rebuilt."),
        (
            Edit(
                "api/http/routing.py",
                "        if access == PUBLIC:\n",
                '        rebuilt = posixpath.normpath(unquote(request.scope["path"]))\n'
                '        if access == PUBLIC or rebuilt in ("/health", "/openapi.json"):\n',
            ),
            Edit(
                "api/http/routing.py",
                "from typing import Any, Final, Generic, Literal, TypeVar\n",
                "import posixpath\nfrom urllib.parse import unquote\n"
                "from typing import Any, Final, Generic, Literal, TypeVar\n",
            ),
        ),
        (f"{ACCESS}::test_no_form_of_a_path_leads_past_the_key",),
    ),
    Bug(
        *("B-22", "S-04", "A server keeps a valid key in its cache for ever."),
        (Edit("domain/access.py", "(principal, now + CACHE_SECONDS)", '(principal, float("inf"))'),),
        (
            "tests/conformance/test_key_repository.py"
            "::test_a_server_keeps_a_valid_key_for_seconds_and_an_unknown_one_not_at_all[sqlite]",
        ),
    ),
    Bug(
        *("B-25", "S-11", "A file name is written to a header as it is."),
        (
            Edit(
                "api/http/ranges.py",
                """plain = "".join(c if " " <= c <= "~" and c not in '"\\\\%' else "_" for c in filename)""",
                "plain = filename",
            ),
        ),
        ("tests/unit/test_content.py::test_a_name_survives_the_header",),
    ),
    Bug(
        *("B-26", "S-12", "A download has the media type of its name."),
        (
            Edit(
                "api/http/ranges.py",
                '        "etag": etag(file),\n    }\n',
                '        "etag": etag(file),\n    }\n'
                '    headers["content-type"] = mimetypes.guess_type(file.filename)[0] or "text/plain"\n',
            ),
            Edit("api/http/ranges.py", "import base64\n", "import base64\nimport mimetypes\n"),
        ),
        ("tests/api/test_files.py::test_content_headers",),
    ),
    Bug(
        *("B-27", "S-18", "Form fields are limited one by one, but not together."),
        (Edit("api/http/multipart.py", " or self._fields_size > self._limits.fields_bytes:", ":"),),
        ("tests/unit/test_multipart_attacks.py::test_cve_2025_69228_fields_are_counted_together_while_they_arrive",),
    ),
    Bug(
        *("B-28", "S-22", "Numbers of a query are whatever `int()` accepts."),
        (
            Edit(
                "api/http/query.py",
                "    match = INTEGER.fullmatch(text)\n    if match is None:\n",
                "    with contextlib.suppress(ValueError):\n        return int(text)\n"
                "    match = INTEGER.fullmatch(text)\n    if match is None:\n",
            ),
            Edit("api/http/query.py", "import re\n", "import contextlib\nimport re\n"),
        ),
        ("tests/api/test_files.py::test_queries_that_are_refused",),
    ),
    Bug(
        *("B-30", "S-29", "A wrong key is written to the log."),
        (
            Edit(
                "api/http/credentials.py",
                "            limit_exceeded = ",
                '            logging.getLogger("filestead").warning("unknown key %s", _extract_key(request))\n'
                "            limit_exceeded = ",
            ),
            Edit("api/http/credentials.py", "import binascii\n", "import binascii\nimport logging\n"),
        ),
        ("tests/api/test_signals.py::test_secrets_and_names_are_nowhere",),
    ),
    Bug(
        *("B-48", "S-04", "Keys are stored as they are."),
        (Edit("domain/access.py", "return hashlib.sha256(secret.encode()).hexdigest()", "return secret"),),
        (f"{ACCESS}::test_keys_are_stored_only_as_digests",),
    ),
    Bug(
        *("B-49", "S-05", "The scope of a key is not checked."),
        (Edit("domain/access.py", "    if scope not in principal.scopes:\n", "    if not principal.scopes:\n"),),
        (f"{ACCESS}::test_scopes[reader]",),
    ),
    Bug(
        *("B-50", "S-07", "Wrong keys are not limited."),
        (Edit("api/http/client_limits.py", "        if wait > 0:\n", "        if wait > float('inf'):\n"),),
        ("tests/attack/test_client_limits.py::test_requests_with_invalid_keys_are_limited_and_valid_keys_are_not",),
    ),
    Bug(
        *("B-51", "S-02", "A file is read by its id alone."),
        (
            Edit(
                "database/repositories/files/rows.py",
                'files.c.project_id == bindparam("project_id"), is_visible())',
                '(files.c.project_id == bindparam("project_id")) | (files.c.project_id != ""), is_visible())',
            ),
        ),
        ("tests/conformance/test_file_repository.py::test_another_project_sees_nothing[sqlite]",),
    ),
    Bug(
        *("B-52", "S-19", "Each byte of a head gives the client more time for the next."),
        (
            Edit(
                "server/http1/protocol.py",
                "            if self._read_timer is None:\n                self._mark_idle()\n",
                "            self._stop_read_timer()\n"
                "            if self._read_timer is None:\n                self._mark_idle()\n",
            ),
        ),
        ("tests/api/test_protocol.py::test_a_head_that_arrives_slowly_is_rejected_at_the_deadline[value]",),
    ),
    Bug(
        *("B-72", "S-02", "A batch runs a file of another project."),
        (
            Edit(
                "database/repositories/batches/creating.py",
                ".where(visible_in_project(), files.c.purpose == INPUT_PURPOSE)",
                '.where(files.c.id == bindparam("id"), files.c.purpose == INPUT_PURPOSE)',
            ),
        ),
        (
            "tests/api/test_authorization.py"
            "::test_a_batch_of_a_foreign_file_fails_as_that_of_an_unknown_one[another project]",
        ),
    ),
)
