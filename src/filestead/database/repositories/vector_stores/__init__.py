"""Vector stores in SQL: stores, attached files, file batches, index; entries are `repository` and `index`."""
