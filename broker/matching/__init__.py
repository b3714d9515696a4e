"""The matching engine: candidate pairs, link groups, and the index that finds them."""
