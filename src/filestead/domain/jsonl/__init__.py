"""JSONL content: what a well-formed line of each kind is, and the checks of a file's lines while it arrives."""
