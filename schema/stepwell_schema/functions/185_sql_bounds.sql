-- Limits the size of the answers of POST /v1/sql. The function runs in the session of the reader, and reads no table.

CREATE OR REPLACE FUNCTION stepwell.row_fits_v1(row_bytes bigint, most bigint, most_in_all bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
-- Returns true, or raises an error if a row, or all rows of the transaction so far, have more bytes than an answer may have.
-- VOLATILE, so that it is called for the rows of the answer and for no others. The sum so far is kept in a setting of the
-- transaction, because a window function would keep the rows.
DECLARE
    so_far bigint := coalesce(nullif(current_setting('stepwell.answered', true), ''), '0')::bigint + row_bytes;
BEGIN
    IF row_bytes > most THEN
        RAISE EXCEPTION 'a row has % bytes, but an answer may have % at most: select fewer columns, or parts of values', row_bytes, most
            USING ERRCODE = 'program_limit_exceeded';
    ELSIF so_far > most_in_all THEN
        RAISE EXCEPTION 'the rows have more than % bytes: ask for fewer rows, or select fewer columns', most_in_all
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    PERFORM set_config('stepwell.answered', so_far::text, true);
    RETURN true;
END
$$;
