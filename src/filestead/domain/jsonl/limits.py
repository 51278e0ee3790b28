"""Limits of the checks of one upload: what they examine, buffer and repeat."""

SLICE = 64 * 1024
"""Lines are decoded in slices of at most this many bytes, so that a call of the decoder takes at most a millisecond."""
MAX_LINE = 8 * 1024 * 1024
"""Only the syntax of a longer line is checked: fine-tuning and batch lines may contain images as data URLs."""
MAX_FAULTS = 1000
"""Checks of a file end after this many faulty lines."""
MAX_SLOW_LINES = 100_000
"""Checks of a file end after this many lines that no typed decoder accepts."""
MAX_STEPS = 2_000_000
"""Maximum parser steps for all long lines of one file; text and flat lists need few."""
DENSE_BYTES, DENSE_VALUES = 1024 * 1024, 200_000
"""Only the syntax of a line with more bytes and more values is checked: one call of a decoder would take too long."""
MAX_DEPTH = 1000
"""Maximum nesting of a line longer than `MAX_LINE`; the limit of the decoder for shorter ones is about the same."""
MAX_DIGITS = 4300
"""Python's limit for an integer."""
MAX_CONTAINERS = 50_000
"""Maximum lists and objects in such a line of a fine-tuning file."""
LARGE = 256 * 1024
"""A value up to this size may be decoded as a whole, whatever it contains."""

EXCERPT = 20
"""Characters of the start of a line that an error repeats."""
SHOWN = 40
"""Characters of a user's value that a fault may repeat."""
