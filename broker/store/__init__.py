"""What the broker keeps, behind ports named by role, with one adapter for each technology."""
