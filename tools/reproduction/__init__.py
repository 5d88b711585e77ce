"""The tables of the LAKD paper: which runs they need, the runs, and the report."""
