"""The pilot: a linkage over files that one organisation holds, to see how well it works first."""
