"""The file repository in SQL, on the tables of files, blobs, quotas and idempotency keys; `repository` is the entry."""
