"""Behind tools/tune.py: the search for what a config leaves open."""
