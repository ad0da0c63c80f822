-- name: blob
-- The size of a blob that is stored.
SELECT size FROM stepwell.blob WHERE sha256 = $1;

-- name: insert_blob
-- The store has it. Two workers may say so at the same time.
INSERT INTO stepwell.blob (sha256, size) VALUES ($1, $2) ON CONFLICT (sha256) DO UPDATE SET size = excluded.size;
