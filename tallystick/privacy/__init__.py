"""The privacy report: the published attacks on Bloom-filter encodings, run against a linkage schema.

Before officers sign a linkage agreement, the report says how badly its encodings would leak: what was tried,
by whom it could be tried, what came out, what it means and what to do. It works on synthetic or held-out
data, never on live data, and every attack is also run on the plain encoding as a control, so that a zero
means that the hardening held and not that the attack was weak.
"""
