"""Keyword search: terms of a text, immutable index segments, and BM25 ranking. Pure code: no I/O, no database.

`analysis` turns text into terms. `segments` builds an index segment of the chunks of one file, `merging` compacts
several segments into one. `ranking` scores the chunks of a set of segments from the buckets that the caller has read.
`fusion` combines rankings. Only this package imports numpy and PyStemmer.
"""
