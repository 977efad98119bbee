-- What is backed up: sets and their members. Written by create_set and its like.
CREATE TABLE agent_backup.sets (
    set_name          text PRIMARY KEY CHECK (set_name <> '' AND octet_length(set_name) <= 63),
    description       text,
    formats           text[] NOT NULL DEFAULT '{csv,json}'
                      CHECK (cardinality(formats) > 0 AND formats <@ '{csv,json,sql}' AND array_position(formats, NULL) IS NULL),
    compression       text NOT NULL DEFAULT 'gzip' CHECK (compression IN ('gzip', 'zstd')),
    compression_level smallint NOT NULL DEFAULT 1,
    keep_daily        integer NOT NULL DEFAULT 7 CHECK (keep_daily >= 0),
    keep_weekly       integer NOT NULL DEFAULT 4 CHECK (keep_weekly >= 0),
    keep_monthly      integer NOT NULL DEFAULT 12 CHECK (keep_monthly >= 0),
    keep_last         integer NOT NULL DEFAULT 0 CHECK (keep_last >= 0),
    keep_within       interval CHECK (keep_within > '0'),
    max_age           interval CHECK (max_age >= '1 day'),
    backup_interval   interval NOT NULL DEFAULT '1 day' CHECK (backup_interval > '0'),
    rto               interval NOT NULL DEFAULT '2 hours' CHECK (rto > '0'),
    rpo               interval NOT NULL DEFAULT '1 hour' CHECK (rpo > '0'),
    seeded            boolean NOT NULL DEFAULT false,
    created_at        timestamptz NOT NULL DEFAULT now(),
    created_by        text NOT NULL DEFAULT session_user,
    recipients_file   text CHECK (recipients_file LIKE '/%'),
    CHECK (compression_level BETWEEN 1 AND CASE compression WHEN 'gzip' THEN 12 ELSE 19 END),
    CHECK (keep_daily + keep_weekly + keep_monthly + keep_last > 0 OR keep_within IS NOT NULL)
);
COMMENT ON TABLE agent_backup.sets IS 'Backup sets: tables that are backed up together, and how. Change with create_set and drop_set';
COMMENT ON COLUMN agent_backup.sets.set_name IS 'Name of the set; also the name of its directory and the start of its file names';
COMMENT ON COLUMN agent_backup.sets.description IS 'What the set is for, in words';
COMMENT ON COLUMN agent_backup.sets.formats IS 'Forms of each table in a backup: csv (restorable), json (for applications), sql (replays with psql)';
COMMENT ON COLUMN agent_backup.sets.compression IS 'gzip (any tool reads it) or zstd (faster, smaller)';
COMMENT ON COLUMN agent_backup.sets.compression_level IS 'gzip 1 to 12, zstd 1 to 19; more is smaller and slower';
COMMENT ON COLUMN agent_backup.sets.keep_daily IS 'Daily backups to keep';
COMMENT ON COLUMN agent_backup.sets.keep_weekly IS 'Weekly backups to keep';
COMMENT ON COLUMN agent_backup.sets.keep_monthly IS 'Monthly backups to keep';
COMMENT ON COLUMN agent_backup.sets.keep_last IS 'Newest backups to keep, however many a day';
COMMENT ON COLUMN agent_backup.sets.keep_within IS 'Every backup younger than this is kept; null for no such rule';
COMMENT ON COLUMN agent_backup.sets.max_age IS 'No backup is kept longer, whatever the other rules say, but the newest good one; null for no limit';
COMMENT ON COLUMN agent_backup.sets.backup_interval IS 'How often a full backup is expected';
COMMENT ON COLUMN agent_backup.sets.rto IS 'Recovery time objective: how long a restore may take';
COMMENT ON COLUMN agent_backup.sets.rpo IS 'Recovery point objective: how much work may be lost';
COMMENT ON COLUMN agent_backup.sets.seeded IS 'Made by CREATE EXTENSION and never changed; gives way to a restored row of the same name';
COMMENT ON COLUMN agent_backup.sets.created_at IS 'When the set was made';
COMMENT ON COLUMN agent_backup.sets.created_by IS 'Who made it';
COMMENT ON COLUMN agent_backup.sets.recipients_file IS 'File on the server with the public keys that its backups are encrypted for; null: agent_backup.recipients_file holds. Change with set_encryption';

CREATE TABLE agent_backup.set_tables (
    set_name         text NOT NULL REFERENCES agent_backup.sets ON DELETE CASCADE ON UPDATE CASCADE,
    schema_name      text NOT NULL CHECK (schema_name <> ''),
    table_name       text NOT NULL CHECK (table_name <> ''),
    ordinal          integer NOT NULL CHECK (ordinal > 0),
    formats          text[] CHECK (cardinality(formats) > 0 AND formats <@ '{csv,json,sql}' AND array_position(formats, NULL) IS NULL),
    row_filter       text CHECK (row_filter <> ''),
    excluded_columns text[] NOT NULL DEFAULT '{}' CHECK (array_position(excluded_columns, NULL) IS NULL),
    masked_columns   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(masked_columns) = 'object'),
    defined_by       text,
    subject_columns  text[] NOT NULL DEFAULT '{}' CHECK (array_position(subject_columns, NULL) IS NULL),
    CHECK ((row_filter IS NULL AND masked_columns = '{}') OR defined_by IS NOT NULL),
    PRIMARY KEY (set_name, schema_name, table_name),
    UNIQUE (set_name, ordinal)
);
COMMENT ON TABLE agent_backup.set_tables IS 'Members of the backup sets. Change with add_table and remove_table; a member that does not exist is reported as absent';
COMMENT ON COLUMN agent_backup.set_tables.set_name IS 'The set';
COMMENT ON COLUMN agent_backup.set_tables.schema_name IS 'Schema of the table, as in pg_namespace';
COMMENT ON COLUMN agent_backup.set_tables.table_name IS 'Name of the table, as in pg_class';
COMMENT ON COLUMN agent_backup.set_tables.ordinal IS 'Place in the set';
COMMENT ON COLUMN agent_backup.set_tables.formats IS 'Forms of this table; null: those of the set';
COMMENT ON COLUMN agent_backup.set_tables.row_filter IS 'SQL expression; rows for which it is not true are left out';
COMMENT ON COLUMN agent_backup.set_tables.excluded_columns IS 'Columns that are left out';
COMMENT ON COLUMN agent_backup.set_tables.masked_columns IS 'Column to SQL expression that is saved in place of its value';
COMMENT ON COLUMN agent_backup.set_tables.defined_by IS 'Role that gave the filter and the masks; it must have the rights of the table''s owner, as whom they run';

COMMENT ON COLUMN agent_backup.set_tables.subject_columns IS 'Columns and paths such as data->>''customer_email'' that name a person, see erase_subject. Change with set_subject_columns';

INSERT INTO agent_backup.sets (set_name, description, seeded)
VALUES ('agent_sdk', 'Tables of the Agent SDK', true);

INSERT INTO agent_backup.set_tables (set_name, schema_name, table_name, ordinal)
SELECT 'agent_sdk', 'public', name, ordinal
  FROM unnest('{agent_approvals,AgentApproval,AgentFeedback,AgentQuery,agent_sdk_learning_data,agent_sdk_notifications,agent_training_archive,data_quality_log}'::text[])
       WITH ORDINALITY AS member(name, ordinal);

-- pg_restore loads the dumped rows after CREATE EXTENSION has seeded its own; the seeded set gives way to them.
CREATE FUNCTION agent_backup.give_way_to_restored_set() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
    DELETE FROM agent_backup.sets WHERE set_name = NEW.set_name AND seeded;
    RETURN NEW;
END
$fn$;
COMMENT ON FUNCTION agent_backup.give_way_to_restored_set() IS 'Removes the seeded set when a dump of the database brings its own';
CREATE TRIGGER give_way_to_restored_set BEFORE INSERT ON agent_backup.sets
    FOR EACH ROW EXECUTE FUNCTION agent_backup.give_way_to_restored_set();
COMMENT ON TRIGGER give_way_to_restored_set ON agent_backup.sets IS 'Lets a restored dump replace the seeded set';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.sets', '');
SELECT pg_catalog.pg_extension_config_dump('agent_backup.set_tables', '');
