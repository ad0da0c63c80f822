"""From Postgres to whoever asks: stored history as columns. Stands behind `api`, and knows only the SQL contract."""
