-- When the connection of a writer's process ended without telling the end of the writer; NULL: it is connected, or it has told
-- its end. A process that starts beside one that is connected must not take its place by accident.
ALTER TABLE stepwell.writer ADD COLUMN left_at timestamptz;

-- The session came after the fact (`stepwell sync`). Among such sessions of a writer, the order of their starts counts, not the
-- order in which they came.
ALTER TABLE stepwell.ledger ADD COLUMN late boolean NOT NULL DEFAULT false;
