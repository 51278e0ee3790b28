"""All planted bugs.

Of the 30 in the catalogue, two have no counterpart here: 20 (keys are found by their whole digest, nothing is compared)
and 23 (there is no Redis; the rate limit is in the database).
"""

from tests.planted.access_bugs import ACCESS_BUGS
from tests.planted.row_bugs import ROW_BUGS
from tests.planted.storage_bugs import STORAGE_BUGS

BUGS = tuple(sorted((*STORAGE_BUGS, *ROW_BUGS, *ACCESS_BUGS), key=lambda bug: bug.id))
