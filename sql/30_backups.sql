-- What was backed up. The manifests on disk are the truth; these rows are their index, and reconcile() rebuilds them.
CREATE TABLE agent_backup.backup_catalog (
    backup_id           text PRIMARY KEY CHECK (backup_id <> ''),
    set_name            text NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('full', 'archive', 'safety')),
    status              text NOT NULL CHECK (status IN ('complete', 'failed', 'incomplete')),
    started_at          timestamptz NOT NULL,
    finished_at         timestamptz NOT NULL,
    tables              integer NOT NULL CHECK (tables >= 0),
    row_count           bigint NOT NULL CHECK (row_count >= 0),
    size_bytes          bigint NOT NULL CHECK (size_bytes >= 0),
    directory           text NOT NULL,
    file_name           text,
    manifest_name       text,
    file_sha256         text CHECK (file_sha256 ~ '^[0-9a-f]{64}$'),
    manifest_sha256     text CHECK (manifest_sha256 ~ '^[0-9a-f]{64}$'),
    verified_at         timestamptz,
    verification_status text CHECK (verification_status IN ('success', 'warning', 'failed')),
    verification_level  text CHECK (verification_level IN ('exists', 'hash', 'decode', 'restore')),
    pinned              boolean NOT NULL DEFAULT false,
    error_message       text,
    system_identifier   text NOT NULL,
    database_name       text NOT NULL,
    pin_reason          text CHECK (pin_reason <> ''),
    encrypted           boolean NOT NULL DEFAULT false CHECK (encrypted = (COALESCE(file_name, '') LIKE '%.age')),
    key_ids             text[] NOT NULL DEFAULT '{}' CHECK (encrypted OR key_ids = '{}'),
    CHECK (pinned OR pin_reason IS NULL),
    UNIQUE (directory, file_name),
    CHECK (finished_at >= started_at),
    CHECK ((status = 'complete') = (error_message IS NULL)),
    CHECK ((status = 'failed') = (file_name IS NULL)),
    CHECK ((file_name IS NULL) = (manifest_name IS NULL)),
    CHECK ((file_name IS NULL) = (manifest_sha256 IS NULL)),
    CHECK ((verified_at IS NULL) = (verification_status IS NULL)),
    CHECK ((verified_at IS NULL) = (verification_level IS NULL))
);
CREATE INDEX backup_catalog_set_started ON agent_backup.backup_catalog (set_name, started_at DESC);
COMMENT ON TABLE agent_backup.backup_catalog IS 'Finished backups, one row each; read it through the view backups';
COMMENT ON COLUMN agent_backup.backup_catalog.backup_id IS 'Name of the backup, unique among all servers: start in UTC and eight random digits';
COMMENT ON COLUMN agent_backup.backup_catalog.set_name IS 'The set as it was called then';
COMMENT ON COLUMN agent_backup.backup_catalog.kind IS 'full, archive for long-term keeping, or safety: made before a restore';
COMMENT ON COLUMN agent_backup.backup_catalog.status IS 'complete; incomplete: a member failed, or a file is missing; failed: nothing usable';
COMMENT ON COLUMN agent_backup.backup_catalog.started_at IS 'When it began';
COMMENT ON COLUMN agent_backup.backup_catalog.finished_at IS 'When its files were safe on disk';
COMMENT ON COLUMN agent_backup.backup_catalog.tables IS 'Tables in it';
COMMENT ON COLUMN agent_backup.backup_catalog.row_count IS 'Rows in it, over all tables';
COMMENT ON COLUMN agent_backup.backup_catalog.size_bytes IS 'Bytes of the container and its manifest on disk';
COMMENT ON COLUMN agent_backup.backup_catalog.directory IS 'Directory of its files';
COMMENT ON COLUMN agent_backup.backup_catalog.file_name IS 'The container, a tar compressed in parts; null where nothing could be backed up';
COMMENT ON COLUMN agent_backup.backup_catalog.manifest_name IS 'The manifest beside it';
COMMENT ON COLUMN agent_backup.backup_catalog.file_sha256 IS 'SHA-256 of the container; null for one adopted from disk until it is verified';
COMMENT ON COLUMN agent_backup.backup_catalog.manifest_sha256 IS 'SHA-256 of the manifest''s file';
COMMENT ON COLUMN agent_backup.backup_catalog.verified_at IS 'When it was last verified';
COMMENT ON COLUMN agent_backup.backup_catalog.verification_status IS 'Verdict of that: success, warning or failed';
COMMENT ON COLUMN agent_backup.backup_catalog.verification_level IS 'How much that proved: exists, hash, decode or restore';
COMMENT ON COLUMN agent_backup.backup_catalog.pinned IS 'Kept whatever the retention says, but for the maximum age of its set';
COMMENT ON COLUMN agent_backup.backup_catalog.error_message IS 'What is wrong with it, unless it is complete';
COMMENT ON COLUMN agent_backup.backup_catalog.system_identifier IS 'Cluster that made it, as in pg_control_system()';
COMMENT ON COLUMN agent_backup.backup_catalog.database_name IS 'Database that made it';
COMMENT ON COLUMN agent_backup.backup_catalog.pin_reason IS 'What it is pinned for, in words';
COMMENT ON COLUMN agent_backup.backup_catalog.encrypted IS 'Whether its rows are readable only with a key';
COMMENT ON COLUMN agent_backup.backup_catalog.key_ids IS 'Ids of the keys that open it, as its manifest names them';

CREATE TABLE agent_backup.backup_entry (
    backup_id    text NOT NULL REFERENCES agent_backup.backup_catalog ON DELETE CASCADE,
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    format       text NOT NULL CHECK (format IN ('csv', 'json', 'sql')),
    entry_name   text NOT NULL,
    row_count    bigint NOT NULL CHECK (row_count >= 0),
    plain_bytes  bigint NOT NULL CHECK (plain_bytes >= 0),
    stored_bytes bigint NOT NULL CHECK (stored_bytes >= 0),
    checksum     text NOT NULL CHECK (checksum ~ '^[0-9a-f]{32}$'),
    sha256       text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (backup_id, schema_name, table_name, format)
);
COMMENT ON TABLE agent_backup.backup_entry IS 'Tables inside the backups, one row per table and format; read it through the view backup_files';
COMMENT ON COLUMN agent_backup.backup_entry.backup_id IS 'The backup';
COMMENT ON COLUMN agent_backup.backup_entry.schema_name IS 'Schema of the table then';
COMMENT ON COLUMN agent_backup.backup_entry.table_name IS 'Name of the table then';
COMMENT ON COLUMN agent_backup.backup_entry.format IS 'csv, json or sql';
COMMENT ON COLUMN agent_backup.backup_entry.entry_name IS 'File inside the container';
COMMENT ON COLUMN agent_backup.backup_entry.row_count IS 'Rows';
COMMENT ON COLUMN agent_backup.backup_entry.plain_bytes IS 'Bytes of the file when extracted';
COMMENT ON COLUMN agent_backup.backup_entry.stored_bytes IS 'Bytes it takes in the container';
COMMENT ON COLUMN agent_backup.backup_entry.checksum IS 'Row digest: MD5 of each row''s text summed modulo 2^128, 32 hex digits';
COMMENT ON COLUMN agent_backup.backup_entry.sha256 IS 'SHA-256 of its stored bytes';

-- Sets that a session is working on now: the holders of our advisory locks.
CREATE VIEW agent_backup.running AS
SELECT s.set_name, l.pid, a.query_start AS started_at
  FROM agent_backup.sets s
  JOIN pg_catalog.pg_locks l
    ON l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
   AND l.classid::bigint = 1634165355 AND l.objid::bigint = agent_backup.lock_key(s.set_name)
   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid;
COMMENT ON VIEW agent_backup.running IS 'Backup sets that a session is working on now';
COMMENT ON COLUMN agent_backup.running.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.running.pid IS 'Process of the session';
COMMENT ON COLUMN agent_backup.running.started_at IS 'When its statement began; null where the reader may not see it';

CREATE VIEW agent_backup.backups AS
SELECT backup_id, set_name, kind, status, started_at, finished_at, tables, row_count, size_bytes,
       directory || '/' || file_name AS backup_file,
       directory || '/' || manifest_name AS manifest_file,
       verified_at, verification_status, pinned, error_message, verification_level, pin_reason, encrypted, key_ids
  FROM agent_backup.backup_catalog
UNION ALL
SELECT NULL, set_name, 'full', 'running', started_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, NULL, NULL, NULL, NULL
  FROM agent_backup.running;
COMMENT ON VIEW agent_backup.backups IS 'All backups: finished ones, and those that run now (without an id until they are done)';
COMMENT ON COLUMN agent_backup.backups.backup_id IS 'Name of the backup; null while it runs';
COMMENT ON COLUMN agent_backup.backups.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.backups.kind IS 'full, archive for long-term keeping, or safety: made before a restore';
COMMENT ON COLUMN agent_backup.backups.status IS 'running, complete, incomplete (a member failed or a file is missing) or failed';
COMMENT ON COLUMN agent_backup.backups.started_at IS 'When it began';
COMMENT ON COLUMN agent_backup.backups.finished_at IS 'When its files were safe on disk';
COMMENT ON COLUMN agent_backup.backups.tables IS 'Tables in it';
COMMENT ON COLUMN agent_backup.backups.row_count IS 'Rows in it, over all tables';
COMMENT ON COLUMN agent_backup.backups.size_bytes IS 'Bytes on disk';
COMMENT ON COLUMN agent_backup.backups.backup_file IS 'Path of the container on the server';
COMMENT ON COLUMN agent_backup.backups.manifest_file IS 'Path of the manifest beside it';
COMMENT ON COLUMN agent_backup.backups.verified_at IS 'When it was last verified';
COMMENT ON COLUMN agent_backup.backups.verification_status IS 'Verdict of that: success, warning or failed';
COMMENT ON COLUMN agent_backup.backups.verification_level IS 'How much that proved: exists, hash, decode or restore';
COMMENT ON COLUMN agent_backup.backups.pinned IS 'Kept whatever the retention says, but for the maximum age of its set';
COMMENT ON COLUMN agent_backup.backups.error_message IS 'What is wrong with it, unless it is complete';
COMMENT ON COLUMN agent_backup.backups.pin_reason IS 'What it is pinned for, in words';
COMMENT ON COLUMN agent_backup.backups.encrypted IS 'Whether its rows are readable only with a key; null while it runs';
COMMENT ON COLUMN agent_backup.backups.key_ids IS 'Ids of the keys that open it; null while it runs';

CREATE VIEW agent_backup.backup_files AS
SELECT e.backup_id, c.set_name, c.started_at, e.schema_name, e.table_name, e.format, e.row_count, e.stored_bytes AS size_bytes,
       e.plain_bytes, e.checksum, e.sha256, c.directory || '/' || c.file_name AS backup_file, e.entry_name
  FROM agent_backup.backup_entry e
  JOIN agent_backup.backup_catalog c USING (backup_id);
COMMENT ON VIEW agent_backup.backup_files IS 'Tables inside the backups, one row per table and format';
COMMENT ON COLUMN agent_backup.backup_files.backup_id IS 'The backup';
COMMENT ON COLUMN agent_backup.backup_files.set_name IS 'Its set';
COMMENT ON COLUMN agent_backup.backup_files.started_at IS 'When the backup began';
COMMENT ON COLUMN agent_backup.backup_files.schema_name IS 'Schema of the table then';
COMMENT ON COLUMN agent_backup.backup_files.table_name IS 'Name of the table then';
COMMENT ON COLUMN agent_backup.backup_files.format IS 'csv, json or sql';
COMMENT ON COLUMN agent_backup.backup_files.row_count IS 'Rows';
COMMENT ON COLUMN agent_backup.backup_files.size_bytes IS 'Bytes it takes in the container';
COMMENT ON COLUMN agent_backup.backup_files.plain_bytes IS 'Bytes of the file when extracted';
COMMENT ON COLUMN agent_backup.backup_files.checksum IS 'Row digest: MD5 of each row''s text summed modulo 2^128, 32 hex digits';
COMMENT ON COLUMN agent_backup.backup_files.sha256 IS 'SHA-256 of its stored bytes';
COMMENT ON COLUMN agent_backup.backup_files.backup_file IS 'Path of the container on the server';
COMMENT ON COLUMN agent_backup.backup_files.entry_name IS 'File inside the container';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.backup_catalog', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.backup_entry', '');
