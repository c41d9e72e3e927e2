-- Texts of one or two characters have no trigram; they are found by an index of their own. The cost
-- tells the planner not to compute the pieces of many sites where the index has them.

CREATE FUNCTION portway_pieces(search TEXT) RETURNS TEXT[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000
    AS $$
        SELECT array_agg(substr(search, place, 2)) || string_to_array(search, NULL)
        FROM generate_series(1, length(search)) AS place
    $$;

-- As SQLite has it: two line ends close the text, and a third one says that hosts are missing, which
-- nobody knows of a long text that is there already.
UPDATE sites SET search = search
    || CASE WHEN length(search) > 1700 THEN E'\n\n\n' ELSE E'\n\n' END;

CREATE INDEX sites_pieces ON sites USING gin (portway_pieces(search))
    WITH (gin_pending_list_limit = 64);
-- The index is asked only for what is rare among the names nearby, whatever is common elsewhere; and
-- statistics of pieces take longer to gather than all the others.
ALTER INDEX sites_pieces ALTER COLUMN 1 SET STATISTICS 0;

-- Room on each page for new versions of its rows: a change that touches no indexed column stays
-- within the page and leaves all indexes alone.
ALTER TABLE sites SET (fillfactor = 80);
ALTER TABLE node_sites SET (fillfactor = 80);
