-- A store as vmrole 0.1.0 wrote it. Never change this file: later versions must read it.
BEGIN;
CREATE TABLE documents (
    kind TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, subject TEXT NOT NULL, message TEXT NOT NULL,
    phase TEXT NOT NULL, generation INTEGER NOT NULL, boot INTEGER NOT NULL
);
CREATE INDEX events_by_subject ON events (subject, number);
CREATE TABLE counter (revision INTEGER NOT NULL);
INSERT INTO counter VALUES (3);
INSERT INTO documents VALUES ('service', 'shop', 2, '{"removing":false,"spec":{"name":"shop"}}');
INSERT INTO events VALUES (1, 1000000.0, 'shop', 'applied', '', 0, 0);
INSERT INTO events VALUES (2, 1000013.5, 'web-0.shop', 'serving', 'ready', 1, 2);
PRAGMA user_version = 1;
COMMIT;
