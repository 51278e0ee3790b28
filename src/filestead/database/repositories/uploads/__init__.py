"""The upload repository in SQL, on the tables of uploads and their parts; `repository` is the entry."""
