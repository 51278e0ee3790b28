"""The checks that `verify` runs on the rows, by what they are about. Invariant numbers as in docs/operate.md."""
