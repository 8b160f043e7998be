"""Evidence: what was observed while a plan was carried out. Pure data, judged later.

Nothing here says whether it is good or bad. Whatever could not be observed is absent or says why
in ``missing``; the judge turns that into an error, never into a pass. Times are nanoseconds of the
host's CLOCK_REALTIME; a guest's own stamps are moved onto that clock by its `Clock` (packets).
"""
