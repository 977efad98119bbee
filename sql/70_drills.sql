-- Recovery drills: backups restored for the proof, beside the tables that the business uses.
CREATE TABLE agent_backup.drills (
    drill_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_name     text NOT NULL,
    backup_id    text,
    status       text NOT NULL CHECK (status IN ('success', 'warning', 'failed')),
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz NOT NULL,
    duration     interval NOT NULL,
    rto          interval,
    within_rto   boolean,
    row_count    bigint NOT NULL CHECK (row_count >= 0),
    steps        jsonb NOT NULL CHECK (pg_catalog.jsonb_typeof(steps) = 'array'),
    drilled_by   text NOT NULL,
    error_message text,
    CHECK (finished_at >= started_at),
    CHECK ((status = 'failed') = (error_message IS NOT NULL)),
    CHECK ((rto IS NULL) = (within_rto IS NULL))
);
CREATE INDEX drills_set_started ON agent_backup.drills (set_name, started_at DESC);
COMMENT ON TABLE agent_backup.drills IS 'Recovery drills, one row each';
COMMENT ON COLUMN agent_backup.drills.drill_id IS 'Number of the drill';
COMMENT ON COLUMN agent_backup.drills.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.drills.backup_id IS 'The backup that was restored; null where none could be opened';
COMMENT ON COLUMN agent_backup.drills.status IS 'success; warning: restored, but a check of the application or the RTO was missed; failed: not restored';
COMMENT ON COLUMN agent_backup.drills.started_at IS 'When it began';
COMMENT ON COLUMN agent_backup.drills.finished_at IS 'When it ended';
COMMENT ON COLUMN agent_backup.drills.duration IS 'How long the restore took, with its checks and without the tidying up';
COMMENT ON COLUMN agent_backup.drills.rto IS 'Recovery time objective of the set then';
COMMENT ON COLUMN agent_backup.drills.within_rto IS 'Whether the restore took no longer than that';
COMMENT ON COLUMN agent_backup.drills.row_count IS 'Rows restored';
COMMENT ON COLUMN agent_backup.drills.steps IS 'The steps as drill() returned them';
COMMENT ON COLUMN agent_backup.drills.drilled_by IS 'Role of the session';
COMMENT ON COLUMN agent_backup.drills.error_message IS 'Why it failed';

CREATE TABLE agent_backup.drill_queries (
    set_name   text NOT NULL REFERENCES agent_backup.sets ON UPDATE CASCADE ON DELETE CASCADE,
    query_name text NOT NULL CHECK (query_name <> ''),
    query      text NOT NULL CHECK (query <> ''),
    defined_by name NOT NULL DEFAULT CURRENT_USER,
    PRIMARY KEY (set_name, query_name)
);
COMMENT ON TABLE agent_backup.drill_queries IS 'Sample queries that each drill runs over the restored tables, for a superuser to fill';
COMMENT ON COLUMN agent_backup.drill_queries.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.drill_queries.query_name IS 'What the result calls it';
COMMENT ON COLUMN agent_backup.drill_queries.query IS 'One SELECT; tables without a schema are the restored ones';
COMMENT ON COLUMN agent_backup.drill_queries.defined_by IS 'Whose rights it runs with';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.drills', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.drills_drill_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.drill_queries', '');
