-- name: find_keys
-- The keys with these ids. Refusal: why a key is not accepted any more, to follow the words "the API key"; NULL: it is
-- accepted.
SELECT k.key_id, k.digest, k.name, k.role, k.entity, k.project,
       CASE WHEN k.revoked_at IS NOT NULL THEN 'was revoked'
            WHEN k.expires_at <= clock_timestamp() THEN 'has expired' END AS refusal
FROM stepwell.api_key k WHERE k.key_id = ANY ($1::text[]);

-- name: note_use
-- Records that a key was used. If several workers record it at the same time, only one of them writes.
UPDATE stepwell.api_key k SET last_used_at = clock_timestamp()
WHERE k.key_id = (SELECT o.key_id FROM stepwell.api_key o
                  WHERE o.key_id = $1 AND (o.last_used_at IS NULL OR o.last_used_at < clock_timestamp() - interval '50 s')
                  FOR UPDATE SKIP LOCKED);

-- name: create_key
-- Adds a key, and a line to the audit log.
WITH made AS (
    INSERT INTO stepwell.api_key (key_id, digest, name, role, entity, project, created_by, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8::interval) RETURNING *
), noted AS (
    INSERT INTO stepwell.audit (actor, action, detail)
    SELECT $7, 'create key', to_jsonb(m) - 'digest' FROM made m
)
SELECT expires_at FROM made;

-- name: list_keys
-- All keys, the newest first.
SELECT k.key_id, k.name, k.role, k.entity, k.project, k.created_at, k.expires_at, k.revoked_at, k.last_used_at,
       k.expires_at <= clock_timestamp() AS expired
FROM stepwell.api_key k ORDER BY k.created_at DESC, k.key_id;

-- name: revoke_key
-- Revokes a key, and adds a line to the audit log; no row: it is revoked already, or there is none.
WITH revoked AS (
    UPDATE stepwell.api_key k SET revoked_at = clock_timestamp() WHERE k.key_id = $1 AND k.revoked_at IS NULL RETURNING *
), noted AS (
    INSERT INTO stepwell.audit (actor, action, detail)
    SELECT $2, 'revoke key', to_jsonb(r) - 'digest' FROM revoked r
)
SELECT name FROM revoked;

-- name: own_old_blobs
-- Files without an owner, which were stored without keys, belong to the projects whose runs name them.
INSERT INTO stepwell.blob_owner (sha256, entity, project)
SELECT DISTINCT u.sha256, r.entity, r.project
FROM stepwell.blob b JOIN stepwell.blob_use u ON u.sha256 = b.sha256 JOIN stepwell.run r ON r.run_id = u.run_id
WHERE NOT EXISTS (SELECT FROM stepwell.blob_owner o WHERE o.sha256 = b.sha256)
ON CONFLICT DO NOTHING;

-- name: sign_in
-- Signs in to the pages with a key, and forgets the sign-ins that have ended.
WITH ended AS (
    DELETE FROM stepwell.sign_in s WHERE s.expires_at < clock_timestamp()
)
INSERT INTO stepwell.sign_in (token, key_id, expires_at) VALUES ($1, $2, clock_timestamp() + $3::interval);

-- name: signed_in
-- The key of a sign-in; no row: it has ended.
SELECT s.key_id FROM stepwell.sign_in s WHERE s.token = $1 AND s.expires_at > clock_timestamp();

-- name: sign_out
-- Signs out.
DELETE FROM stepwell.sign_in s WHERE s.token = $1;

-- name: audit
-- The newest entries of the audit log, about keys and about runs.
SELECT a.at, a.actor, a.action, a.detail->>'key_id' AS key_id, a.detail->>'role' AS role, a.detail->>'entity' AS entity,
       a.detail->>'project' AS project, a.detail->>'run' AS run, a.detail->>'name' AS name
FROM stepwell.audit a ORDER BY a.at DESC LIMIT $1;
