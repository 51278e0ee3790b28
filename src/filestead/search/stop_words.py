"""English words that carry no meaning of their own: neither indexed nor searched for.

Function words, auxiliaries, and what an apostrophe leaves of a contraction (`don't` is `don` and `t`). A longer list,
with words such as *first* or *using*, ranks the judged collection worse.
"""

STOP_WORDS = frozenset(
    """
    a about all also am an and any are as at be because been being both but by can cannot could did do does doing during
    each etc for from had has have having he her here hers herself him himself his how however i if in into is it its
    itself just may me might more most must my myself no nor not of on or other our ours ourselves out own please same
    shall she should so some such than that the their theirs them themselves then there therefore these they this
    those through thus to too until upon us use used using very was we were what when where which while who whom whose
    why will with without would you your yours yourself yourselves between aren couldn d didn doesn don hadn hasn
    haven isn ll m mustn re s shouldn t ve wasn weren won wouldn
    """.split()  # noqa: SIM905
)
