-- Persons who were erased. What names them is in none of these tables.
CREATE TABLE agent_backup.erasures (
    erasure_id      text PRIMARY KEY CHECK (erasure_id <> ''),
    set_name        text NOT NULL,
    subject_columns text[] NOT NULL CHECK (cardinality(subject_columns) > 0),
    reason          text NOT NULL CHECK (reason <> ''),
    requested_by    text NOT NULL DEFAULT session_user,
    erased_at       timestamptz NOT NULL,
    status          text NOT NULL CHECK (status IN ('complete', 'partial')),
    rows_removed    bigint NOT NULL CHECK (rows_removed >= 0),
    files_rewritten integer NOT NULL CHECK (files_rewritten >= 0),
    files_left      integer NOT NULL CHECK (files_left >= 0),
    certificate     jsonb NOT NULL,
    CHECK ((status = 'complete') = (files_left = 0))
);
COMMENT ON TABLE agent_backup.erasures IS 'Erasures; read them through the view erasure_log';
COMMENT ON COLUMN agent_backup.erasures.erasure_id IS 'Name of the erasure: when, in UTC, and eight random digits';
COMMENT ON COLUMN agent_backup.erasures.set_name IS 'The set whose tables were looked through';
COMMENT ON COLUMN agent_backup.erasures.subject_columns IS 'Columns and paths that named the person';
COMMENT ON COLUMN agent_backup.erasures.reason IS 'Why, in words';
COMMENT ON COLUMN agent_backup.erasures.requested_by IS 'Who was logged in';
COMMENT ON COLUMN agent_backup.erasures.erased_at IS 'When: rows of backups that began before are the person''s, rows of later ones are not';
COMMENT ON COLUMN agent_backup.erasures.status IS 'complete, or partial: something could not be reached that holds rows, see the certificate';
COMMENT ON COLUMN agent_backup.erasures.rows_removed IS 'Rows that went, over all places';
COMMENT ON COLUMN agent_backup.erasures.files_rewritten IS 'Files that were changed';
COMMENT ON COLUMN agent_backup.erasures.files_left IS 'Files and tables that hold rows and could not be changed, or not be looked through';
COMMENT ON COLUMN agent_backup.erasures.certificate IS 'What was removed where, what could not be reached, and when that expires';

CREATE TABLE agent_backup.tombstones (
    erasure_id  text NOT NULL,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    subject     text NOT NULL,
    set_name    text NOT NULL,
    erased_at   timestamptz NOT NULL,
    key         text NOT NULL CHECK (key ~ '^[0-9a-f]{64}$'),
    mac         text NOT NULL CHECK (mac ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (erasure_id, schema_name, table_name, subject)
);
COMMENT ON TABLE agent_backup.tombstones IS 'What keeps erased persons from coming back with an older copy. The files in tombstones/ of the backup directory are the truth, and are loaded again by reconcile()';
COMMENT ON COLUMN agent_backup.tombstones.erasure_id IS 'The erasure';
COMMENT ON COLUMN agent_backup.tombstones.schema_name IS 'Schema of the table';
COMMENT ON COLUMN agent_backup.tombstones.table_name IS 'Name of the table';
COMMENT ON COLUMN agent_backup.tombstones.subject IS 'Column or path that named the person there';
COMMENT ON COLUMN agent_backup.tombstones.set_name IS 'The set whose tables were looked through';
COMMENT ON COLUMN agent_backup.tombstones.erased_at IS 'Rows of backups that began before are left out';
COMMENT ON COLUMN agent_backup.tombstones.key IS '32 random bytes in hex, of this erasure alone';
COMMENT ON COLUMN agent_backup.tombstones.mac IS 'HMAC-SHA-256 of the value under the key, in hex';

CREATE TABLE agent_backup.erased_backups (
    erasure_id text NOT NULL,
    backup_id  text NOT NULL,
    row_count  bigint NOT NULL CHECK (row_count >= 0),
    PRIMARY KEY (backup_id, erasure_id)
);
COMMENT ON TABLE agent_backup.erased_backups IS 'Backups that were looked through to the end for an erasure: its tombstone need not be asked about them';
COMMENT ON COLUMN agent_backup.erased_backups.erasure_id IS 'The erasure';
COMMENT ON COLUMN agent_backup.erased_backups.backup_id IS 'The backup';
COMMENT ON COLUMN agent_backup.erased_backups.row_count IS 'Rows that were erased from it';

CREATE VIEW agent_backup.erasure_log AS
SELECT erasure_id, set_name, subject_columns, reason, requested_by, erased_at, status, rows_removed, files_rewritten, files_left, certificate
  FROM agent_backup.erasures;
COMMENT ON VIEW agent_backup.erasure_log IS 'Persons who were erased, without what names them: when, why, how many rows, and the certificate';
COMMENT ON COLUMN agent_backup.erasure_log.erasure_id IS 'Name of the erasure';
COMMENT ON COLUMN agent_backup.erasure_log.set_name IS 'The set whose tables were looked through';
COMMENT ON COLUMN agent_backup.erasure_log.subject_columns IS 'Columns and paths that named the person';
COMMENT ON COLUMN agent_backup.erasure_log.reason IS 'Why, in words';
COMMENT ON COLUMN agent_backup.erasure_log.requested_by IS 'Who was logged in';
COMMENT ON COLUMN agent_backup.erasure_log.erased_at IS 'When';
COMMENT ON COLUMN agent_backup.erasure_log.status IS 'complete, or partial: something that holds rows could not be reached';
COMMENT ON COLUMN agent_backup.erasure_log.rows_removed IS 'Rows that went, over all places';
COMMENT ON COLUMN agent_backup.erasure_log.files_rewritten IS 'Files that were changed';
COMMENT ON COLUMN agent_backup.erasure_log.files_left IS 'Files and tables that could not be changed or looked through';
COMMENT ON COLUMN agent_backup.erasure_log.certificate IS 'What was removed where, what could not be reached, and when that expires';

CREATE FUNCTION agent_backup.erasure_certificate(erasure_id text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $fn$ SELECT l.certificate FROM agent_backup.erasure_log l WHERE l.erasure_id = $1 $fn$;
COMMENT ON FUNCTION agent_backup.erasure_certificate IS 'What an erasure removed where, what it could not reach, and by when that expires; null where there is no such erasure';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.erasures', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.tombstones', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.erased_backups', '');
