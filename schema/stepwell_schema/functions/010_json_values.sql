-- Conversions between JSON and SQL values. Notes may contain any JSON: what has the wrong type or is out of range
-- becomes NULL or empty.

CREATE OR REPLACE FUNCTION stepwell.float_v1(value jsonb) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- A number as a float8. JSON cannot express NaN and the infinities: they are strings.
    SELECT CASE WHEN jsonb_typeof(value) = 'number' AND length(value::text) < 300 THEN (value #>> '{}')::float8
                WHEN value IN ('"NaN"', '"Infinity"', '"-Infinity"') THEN (value #>> '{}')::float8 END
$$;

CREATE OR REPLACE FUNCTION stepwell.whole_v1(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- A number as an integer.
    SELECT CASE WHEN jsonb_typeof(value) = 'number' AND length(value::text) < 17 THEN value::bigint END
$$;

CREATE OR REPLACE FUNCTION stepwell.step_v1(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- A whole number that can be a step: from 0 to 2^63 - 2.
    SELECT CASE WHEN jsonb_typeof(value) = 'number' AND value::text ~ '^[0-9]{1,19}$' AND value < '9223372036854775807'
                THEN value::bigint END
$$;

CREATE OR REPLACE FUNCTION stepwell.micros_v1(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- A time in whole microseconds since 1970, up to the year 9999.
    SELECT CASE WHEN jsonb_typeof(value) = 'number' AND value::text ~ '^[0-9]{1,18}$' AND value < '253402300800000000'
                THEN value::bigint END
$$;

CREATE OR REPLACE FUNCTION stepwell.time_v1(value jsonb) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Seconds since 1970 as a time, up to the year 5138.
    SELECT CASE WHEN stepwell.float_v1(value) BETWEEN 0 AND 1e11 THEN to_timestamp(stepwell.float_v1(value)) END
$$;

CREATE OR REPLACE FUNCTION stepwell.number_v1(value float8) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- A float8 as JSON. JSON cannot express NaN and the infinities: they become strings. Not IMMUTABLE, because to_jsonb is
    -- STABLE: Postgres would not inline it, and a call takes some µs.
    SELECT CASE WHEN value IN ('NaN', 'Infinity', '-Infinity') THEN to_jsonb(value::text) ELSE to_jsonb(value) END
$$;

CREATE OR REPLACE FUNCTION stepwell.plain_v1(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The value of a number that was stored as an object ({"_type": "float64"}); anything else unchanged.
    SELECT CASE WHEN value->>'_type' = 'float64' AND jsonb_typeof(value->'value') = 'string' THEN value->'value'
                ELSE value END
$$;

CREATE OR REPLACE FUNCTION stepwell.object_v1(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- `value` if it is an object, else an empty one.
    SELECT CASE WHEN jsonb_typeof(value) = 'object' THEN value ELSE '{}' END
$$;

CREATE OR REPLACE FUNCTION stepwell.array_v1(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- `value` if it is an array, else an empty one.
    SELECT CASE WHEN jsonb_typeof(value) = 'array' THEN value ELSE '[]' END
$$;
