-- Change capture: what track() keeps of every change of a table, in the writer's own transaction.
CREATE VIEW agent_backup.this_home AS
SELECT pg_catalog.format('%s/%s', s.system_identifier, d.oid) AS home
  FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database();
COMMENT ON VIEW agent_backup.this_home IS 'Name of this very database, unlike that of any other and of any copy on another server';
COMMENT ON COLUMN agent_backup.this_home.home IS 'System identifier of the cluster and oid of the database';

CREATE TABLE agent_backup.tracked (
    tracked_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation       regclass NOT NULL,
    schema_name    text NOT NULL CHECK (schema_name <> ''),
    table_name     text NOT NULL CHECK (table_name <> ''),
    level          text NOT NULL CHECK (level IN ('statement', 'row')),
    on_failure     text NOT NULL DEFAULT 'fail' CHECK (on_failure IN ('fail', 'gap')),
    on_truncate    text NOT NULL DEFAULT 'capture' CHECK (on_truncate IN ('capture', 'refuse', 'mark')),
    truncate_limit bigint NOT NULL CHECK (truncate_limit >= 0),
    backup_id      text,
    since          timestamptz NOT NULL,
    since_xid      xid8 NOT NULL,
    tracked_by     text NOT NULL DEFAULT session_user,
    home           text NOT NULL,
    columns        text[] NOT NULL DEFAULT '{}',
    labels         text[] NOT NULL DEFAULT '{}',
    leaves         oid[] NOT NULL DEFAULT '{}',
    remade         boolean NOT NULL DEFAULT false,
    broken_since   timestamptz CHECK (broken_since >= since),
    ended_at       timestamptz CHECK (ended_at >= since)
);
CREATE UNIQUE INDEX tracked_relation ON agent_backup.tracked (relation) WHERE ended_at IS NULL;
COMMENT ON TABLE agent_backup.tracked IS 'Tables whose changes are captured, now or before. Change with track and untrack';
COMMENT ON COLUMN agent_backup.tracked.tracked_id IS 'Number of the tracking; the triggers of the table carry it';
COMMENT ON COLUMN agent_backup.tracked.relation IS 'The table';
COMMENT ON COLUMN agent_backup.tracked.schema_name IS 'Its schema when tracking began';
COMMENT ON COLUMN agent_backup.tracked.table_name IS 'Its name when tracking began';
COMMENT ON COLUMN agent_backup.tracked.level IS 'statement: triggers see all rows of a statement at once; row: one by one, for partitions, inheritance and logical replication';
COMMENT ON COLUMN agent_backup.tracked.on_failure IS 'When a change cannot be captured: fail (the writer''s statement fails) or gap (it goes on, and the gap is recorded)';
COMMENT ON COLUMN agent_backup.tracked.on_truncate IS 'TRUNCATE of more than truncate_limit bytes: capture its rows all the same, refuse it, or mark it as a gap';
COMMENT ON COLUMN agent_backup.tracked.truncate_limit IS 'Bytes of a table that TRUNCATE may empty without asking on_truncate';
COMMENT ON COLUMN agent_backup.tracked.backup_id IS 'The backup that was made when tracking began';
COMMENT ON COLUMN agent_backup.tracked.since IS 'When tracking began';
COMMENT ON COLUMN agent_backup.tracked.since_xid IS 'The transaction that began it';
COMMENT ON COLUMN agent_backup.tracked.tracked_by IS 'Who began it';
COMMENT ON COLUMN agent_backup.tracked.home IS 'The database that it began in: in a copy of it, restored from a dump, the table has to be tracked anew';
COMMENT ON COLUMN agent_backup.tracked.labels IS 'Labels of its enums, so that a renamed one is noticed';
COMMENT ON COLUMN agent_backup.tracked.columns IS 'Its columns, so that a renamed one is noticed';
COMMENT ON COLUMN agent_backup.tracked.leaves IS 'Its partitions that hold rows, so that one that comes or goes is noticed';
COMMENT ON COLUMN agent_backup.tracked.remade IS 'Its triggers are being made anew by this transaction';
COMMENT ON COLUMN agent_backup.tracked.broken_since IS 'Since when its triggers are switched off or dropped; null while they are as track made them';
COMMENT ON COLUMN agent_backup.tracked.ended_at IS 'When tracking ended; null while it goes on';

CREATE TABLE agent_backup.row_shapes (
    shape_id    bigint NOT NULL,
    columns     text[] NOT NULL,
    types       text[] NOT NULL,
    key_columns text[] NOT NULL,
    CHECK (cardinality(columns) = cardinality(types))
);
CREATE INDEX row_shapes_id ON agent_backup.row_shapes (shape_id);
COMMENT ON TABLE agent_backup.row_shapes IS 'What the fields of captured rows are: a row for each list of columns that a tracked table has had. Two sessions can write the same, so that neither waits for the other';
COMMENT ON COLUMN agent_backup.row_shapes.shape_id IS 'Made of the other columns, so that equal rows have equal numbers, and only those';
COMMENT ON COLUMN agent_backup.row_shapes.columns IS 'Names of the fields, in their order; generated columns are left out';
COMMENT ON COLUMN agent_backup.row_shapes.types IS 'Their types, as format_type writes them';
COMMENT ON COLUMN agent_backup.row_shapes.key_columns IS 'Columns of the primary key; empty without one';

CREATE SEQUENCE agent_backup.change_seq CACHE 1;
COMMENT ON SEQUENCE agent_backup.change_seq IS 'Order of the captured changes: two of one row are in the order of their commits';

-- Written by the trigger alone, past planner and executor: so it has no constraint, trigger, partial index or index on an
-- expression, which would not be looked at, or cost each statement more than the rest.
CREATE TABLE agent_backup.change_log (
    seq              bigint NOT NULL DEFAULT pg_catalog.nextval('agent_backup.change_seq'::regclass),
    changed_at       timestamptz NOT NULL,
    xid              xid8 NOT NULL,
    tracked_id       integer NOT NULL,
    shape_id         bigint NOT NULL,
    operation        "char" NOT NULL,
    row_key          text COLLATE pg_catalog."C",
    image            text,
    old_columns      smallint[],
    old_values       text,
    session_user_name text NOT NULL,
    application_name text NOT NULL
) PARTITION BY RANGE (changed_at);
CREATE TABLE agent_backup.change_log_default PARTITION OF agent_backup.change_log DEFAULT;
-- A hash takes a third of the pages that the keys would take in order, and so a third of the page images in the WAL.
CREATE INDEX change_log_key ON agent_backup.change_log USING hash (row_key);
CREATE INDEX change_log_time ON agent_backup.change_log USING brin (changed_at, tracked_id) WITH (pages_per_range = 32);
COMMENT ON TABLE agent_backup.change_log IS 'Every change of the tracked tables. Read it with record_history, read_as_of and agent_training_archive';
COMMENT ON COLUMN agent_backup.change_log.seq IS 'Order of the changes: two of one row are in the order of their commits';
COMMENT ON COLUMN agent_backup.change_log.changed_at IS 'When the statement ended that made it (the transaction commits later)';
COMMENT ON COLUMN agent_backup.change_log.xid IS 'The transaction';
COMMENT ON COLUMN agent_backup.change_log.tracked_id IS 'The tracking, see tracked';
COMMENT ON COLUMN agent_backup.change_log.shape_id IS 'What the fields of the images are, see row_shapes';
COMMENT ON COLUMN agent_backup.change_log.operation IS 'I insert, U update, D delete, T truncate; an update of the key is a D of the one and an I of the other';
COMMENT ON COLUMN agent_backup.change_log.row_key IS 'Primary key of the row after the change (before it, if it is gone): the text of one column, a line of CSV of several; null without a key';
COMMENT ON COLUMN agent_backup.change_log.image IS 'The row after the change (before it, if it is gone) as a line of CSV, as in a backup; null once it was erased';
COMMENT ON COLUMN agent_backup.change_log.old_columns IS 'Fields that an update changed, from 1';
COMMENT ON COLUMN agent_backup.change_log.old_values IS 'Their values before it, as a line of CSV';
COMMENT ON COLUMN agent_backup.change_log.session_user_name IS 'Who was logged in';
COMMENT ON COLUMN agent_backup.change_log.application_name IS 'application_name of the session';
COMMENT ON TABLE agent_backup.change_log_default IS 'Changes of days that have no partition of their own';
DO $do$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT attname, pg_catalog.col_description(attrelid, attnum) AS text FROM pg_catalog.pg_attribute
              WHERE attrelid = 'agent_backup.change_log'::pg_catalog.regclass AND attnum > 0 LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.change_log_default.%I IS %L', c.attname, c.text);
    END LOOP;
END
$do$;

CREATE TABLE agent_backup.capture_gaps (
    tracked_id  integer NOT NULL REFERENCES agent_backup.tracked,
    noted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    reason      text NOT NULL CHECK (reason <> '')
);
COMMENT ON TABLE agent_backup.capture_gaps IS 'Changes that the log does not hold: moments before one can be reached from a backup only';
COMMENT ON COLUMN agent_backup.capture_gaps.tracked_id IS 'The tracking, see tracked';
COMMENT ON COLUMN agent_backup.capture_gaps.noted_at IS 'When';
COMMENT ON COLUMN agent_backup.capture_gaps.xid IS 'The transaction that made the change';
COMMENT ON COLUMN agent_backup.capture_gaps.reason IS 'Why it is not in the log';

CREATE TABLE agent_backup.marks (
    mark_name  text PRIMARY KEY CHECK (mark_name <> ''),
    snapshot   pg_snapshot NOT NULL,
    marked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    marked_by  text NOT NULL DEFAULT session_user,
    note       text
);
COMMENT ON TABLE agent_backup.marks IS 'Restore points, made with mark';
COMMENT ON COLUMN agent_backup.marks.mark_name IS 'Name of the mark';
COMMENT ON COLUMN agent_backup.marks.snapshot IS 'Which transactions had committed';
COMMENT ON COLUMN agent_backup.marks.marked_at IS 'When it was made';
COMMENT ON COLUMN agent_backup.marks.marked_by IS 'Who made it';
COMMENT ON COLUMN agent_backup.marks.note IS 'What it is for, in words';

CREATE FUNCTION agent_backup.capture() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_capture';
COMMENT ON FUNCTION agent_backup.capture() IS 'Trigger that writes the changes of a tracked table to the log. Made by track';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.tracked', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.tracked_tracked_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.row_shapes', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.change_seq', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.change_log', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.change_log_default', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.capture_gaps', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.marks', '');
