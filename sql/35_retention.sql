-- What retention removed: the record of each deletion, and the history of recovery points that are gone.
CREATE TABLE agent_backup.pruned_backups (
    backup_id   text PRIMARY KEY CHECK (backup_id <> ''),
    set_name    text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('full', 'archive', 'safety')),
    status      text NOT NULL CHECK (status IN ('complete', 'failed', 'incomplete')),
    was_good    boolean NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    row_count   bigint NOT NULL CHECK (row_count >= 0),
    size_bytes  bigint NOT NULL CHECK (size_bytes >= 0),
    backup_file text,
    reasons     text[] NOT NULL CHECK (pg_catalog.cardinality(reasons) > 0),
    pruned_at   timestamptz NOT NULL,
    pruned_by   text NOT NULL
);
CREATE INDEX pruned_backups_set_started ON agent_backup.pruned_backups (set_name, started_at DESC);
COMMENT ON TABLE agent_backup.pruned_backups IS 'Backups that prune removed, one row each';
COMMENT ON COLUMN agent_backup.pruned_backups.backup_id IS 'Name of the backup';
COMMENT ON COLUMN agent_backup.pruned_backups.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.pruned_backups.kind IS 'full, archive or safety';
COMMENT ON COLUMN agent_backup.pruned_backups.status IS 'What it was: complete, incomplete or failed';
COMMENT ON COLUMN agent_backup.pruned_backups.was_good IS 'Whether it was complete and no verification had failed';
COMMENT ON COLUMN agent_backup.pruned_backups.started_at IS 'When it began';
COMMENT ON COLUMN agent_backup.pruned_backups.finished_at IS 'When its files were safe on disk';
COMMENT ON COLUMN agent_backup.pruned_backups.row_count IS 'Rows in it';
COMMENT ON COLUMN agent_backup.pruned_backups.size_bytes IS 'Bytes that were freed';
COMMENT ON COLUMN agent_backup.pruned_backups.backup_file IS 'Path of its container; null where it had none';
COMMENT ON COLUMN agent_backup.pruned_backups.reasons IS 'Why it was not kept';
COMMENT ON COLUMN agent_backup.pruned_backups.pruned_at IS 'When it was removed';
COMMENT ON COLUMN agent_backup.pruned_backups.pruned_by IS 'Role of the session';
SELECT pg_catalog.pg_extension_config_dump('agent_backup.pruned_backups', '');
