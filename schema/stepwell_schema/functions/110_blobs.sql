-- Which blobs an object needs, and whether they are there: an object is shown only when its files are.

CREATE OR REPLACE FUNCTION stepwell.blobs_of_v1(value jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The hashes in fields named `sha256`, at any depth, each once: 64 hexadecimal digits in lower case. Anything else
    -- in such a field is a user's own value.
    SELECT coalesce(array_agg(DISTINCT f.found #>> '{}'), '{}')
    FROM jsonb_path_query(value, 'strict $.**.sha256 ? (@ like_regex "^[0-9a-f]{64}$")', '{}', true) AS f (found)
$$;

CREATE OR REPLACE FUNCTION stepwell.blobs_all_there_v1(value jsonb) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT NOT EXISTS (
        SELECT FROM unnest(stepwell.blobs_of_v1(value)) AS u (sha256)
        WHERE NOT EXISTS (SELECT FROM stepwell.blob b
                          WHERE b.sha256 = decode(u.sha256, 'hex') AND b.removing_at IS NULL))
$$;

CREATE OR REPLACE FUNCTION stepwell.blobs_there_v1(value jsonb) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- True for everything that is no media object, and no list of them. Without a subquery, so that the planner puts it in
    -- place of the call: other objects cost a look or two for a key.
    SELECT CASE WHEN value ? '_type' OR value->0 ? '_type' THEN stepwell.blobs_all_there_v1(value) ELSE true END
$$;
