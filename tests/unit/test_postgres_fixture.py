"""The PostgreSQL that other tests rely on is real, and each test has its own database."""

from __future__ import annotations

import sqlalchemy as sa


def test_fresh_database_is_empty_and_utf8(postgres_url: str) -> None:
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW server_encoding")) == "UTF8"
        tables = connection.scalar(
            sa.text("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        )
        assert tables == 0
    engine.dispose()
