"""The console script ``lakd-mm``.

It stands beside ``lakd_mm``, not in it: the import of that package takes seconds, and fails where
``lakd-mm doctor`` has to say why.
"""
