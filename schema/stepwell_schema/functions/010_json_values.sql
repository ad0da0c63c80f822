-- Readers of numbers in notes, which are anybody's JSON: what is none, or out of range, is left out.

CREATE OR REPLACE FUNCTION stepwell.float_v1(value jsonb) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- JSON has no word for NaN and infinities: they come as strings.
    SELECT CASE WHEN jsonb_typeof(value) = 'number' AND length(value::text) < 300 THEN (value #>> '{}')::float8
                WHEN value IN ('"NaN"', '"Infinity"', '"-Infinity"') THEN (value #>> '{}')::float8 END
$$;

CREATE OR REPLACE FUNCTION stepwell.whole_v1(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'number' AND length(value::text) < 17 THEN value::bigint END
$$;

CREATE OR REPLACE FUNCTION stepwell.time_v1(value jsonb) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Seconds since 1970, up to the year 5138.
    SELECT CASE WHEN stepwell.float_v1(value) BETWEEN 0 AND 1e11 THEN to_timestamp(stepwell.float_v1(value)) END
$$;
