-- SQLite's counterpart of PostgreSQL's trigram index. It holds no text of its own but follows the
-- column sites.search by triggers (sqlite.org/fts5.html, external content tables).

CREATE VIRTUAL TABLE site_search USING fts5 (
    search, content = 'sites', content_rowid = 'serial', tokenize = 'trigram'
);

CREATE TRIGGER site_search_insert AFTER INSERT ON sites BEGIN
    INSERT INTO site_search (rowid, search) VALUES (new.serial, new.search);
END;

CREATE TRIGGER site_search_delete AFTER DELETE ON sites BEGIN
    INSERT INTO site_search (site_search, rowid, search) VALUES ('delete', old.serial, old.search);
END;

CREATE TRIGGER site_search_update AFTER UPDATE OF search ON sites
WHEN old.search <> new.search BEGIN
    INSERT INTO site_search (site_search, rowid, search) VALUES ('delete', old.serial, old.search);
    INSERT INTO site_search (rowid, search) VALUES (new.serial, new.search);
END;
