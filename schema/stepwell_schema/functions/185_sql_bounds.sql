-- What bounds the answers of POST /v1/sql. The function runs in the session of the reader, and reads nothing.

CREATE OR REPLACE FUNCTION stepwell.row_fits_v1(row_bytes bigint, most bigint, most_in_all bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
-- True; raises where a row, or all rows of the transaction up to it, have more bytes than an answer may hold. VOLATILE, so
-- that it is asked of the rows of the answer and of no others. The sum is a setting of the transaction: a window function
-- would keep rows.
DECLARE
    so_far bigint := coalesce(nullif(current_setting('stepwell.answered', true), ''), '0')::bigint + row_bytes;
BEGIN
    IF row_bytes > most THEN
        RAISE EXCEPTION 'a row has % bytes, and an answer takes % at most: select fewer columns, or parts of values', row_bytes, most
            USING ERRCODE = 'program_limit_exceeded';
    ELSIF so_far > most_in_all THEN
        RAISE EXCEPTION 'the rows have more than % bytes: ask for fewer rows, or select fewer columns', most_in_all
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    PERFORM set_config('stepwell.answered', so_far::text, true);
    RETURN true;
END
$$;
