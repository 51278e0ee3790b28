"""Bounds of what the checks of one upload look at, hold and repeat."""

SLICE = 64 * 1024
"""Lines are decoded in slices of at most so many bytes: one call of the decoder is then over within a millisecond."""
MAX_LINE = 8 * 1024 * 1024
"""Of a longer line only the syntax is checked: fine-tuning and batch lines may carry images as data URLs."""
MAX_FAULTS = 1000
"""A content with so many faulty lines is settled; no more lines are looked at on its behalf."""
MAX_SLOW_LINES = 100_000
"""So many lines that the typed decoders cannot judge are judged one by one; then the content is settled as well."""
MAX_STEPS = 2_000_000
"""Steps of Python that the syntax of one file's long lines may take together; text and flat lists take few."""
DENSE_BYTES, DENSE_VALUES = 1024 * 1024, 200_000
"""Of a line of more bytes that has more values only the syntax is checked: a decoder would take too long at once."""
MAX_DEPTH = 1000
"""Levels of nesting in a line longer than `MAX_LINE`; shorter lines have the decoder's limit, about the same."""
MAX_DIGITS = 4300
"""Python's limit for an integer."""
MAX_CONTAINERS = 50_000
"""Most lists and objects of such a line of a fine-tuning file."""
LARGE = 256 * 1024
"""Up to this size everything of a value may be held in memory, whatever it consists of."""

EXCERPT = 20
"""Characters of a line's start that a refusal repeats."""
SHOWN = 40
"""Characters of a user's value that a fault may repeat."""
