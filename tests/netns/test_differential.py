"""Bulkhead and Linux's connection tracking agree on random streams, but for what the table of divergences explains. More: differential.py."""
import collections
import unittest

from differential import compare

SEEDS, PACKETS = range(1, 21), 300


class Differential(unittest.TestCase):
    def test_random_streams_through_both_differ_only_where_that_is_explained(self):
        total = collections.Counter()
        for seed in SEEDS:
            explained, wrong = compare(seed, PACKETS)
            total += explained
            self.assertEqual(wrong, [])
        # A table that explains everything, or streams that fall apart, would compare nothing.
        self.assertGreater(total["in step"], len(SEEDS) * PACKETS * 0.6)
