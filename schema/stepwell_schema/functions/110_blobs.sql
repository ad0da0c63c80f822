-- Which blobs an object needs, and whether they are stored: an object is shown only when all its files are stored.

CREATE OR REPLACE FUNCTION stepwell.blobs_of_v1(value jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The distinct hashes in fields named `sha256`, at any depth: 64 hexadecimal digits in lower case. Other contents
    -- of such a field are a user's value.
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
    -- True for everything that is neither a media object nor a list of them. Has no subquery, so that the planner
    -- inlines it: other objects then cost no more than one or two lookups of a key.
    SELECT CASE WHEN value ? '_type' OR value->0 ? '_type' THEN stepwell.blobs_all_there_v1(value) ELSE true END
$$;
