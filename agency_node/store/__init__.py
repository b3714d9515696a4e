"""What a node keeps: SQLite by default, PostgreSQL by URL. Database models never leave this package."""
