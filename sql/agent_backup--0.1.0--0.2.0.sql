-- From 0.1.0 to 0.2.0. What stands between the two lines below is written by scripts/upgrade-sql; the rest by hand. The test
-- `upgrade` compares the outcome with a fresh installation, object by object.

-- Roles, as sql/10_schema.sql makes them.
DO $do$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY '{agent_backup_operator,agent_backup_restorer,agent_backup_auditor,agent_backup_admin}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of the cluster made it just now
            END;
        END IF;
    END LOOP;
    FOREACH role IN ARRAY '{agent_backup_operator,agent_backup_restorer,agent_backup_auditor}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                        WHERE m.roleid = role::pg_catalog.regrole AND m.member = 'agent_backup_admin'::pg_catalog.regrole) THEN
            BEGIN
                EXECUTE pg_catalog.format('GRANT %I TO agent_backup_admin', role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
END
$do$;

-- Tables that have more columns now, functions that take more arguments, and indexes of the log that are smaller.
ALTER TABLE agent_backup.sets ADD COLUMN recipients_file text CHECK (recipients_file LIKE '/%');
ALTER TABLE agent_backup.set_tables ADD COLUMN subject_columns text[] NOT NULL DEFAULT '{}' CHECK (array_position(subject_columns, NULL) IS NULL);
ALTER TABLE agent_backup.backup_catalog
    ADD COLUMN encrypted boolean NOT NULL DEFAULT false CHECK (encrypted = (COALESCE(file_name, '') LIKE '%.age')),
    ADD COLUMN key_ids text[] NOT NULL DEFAULT '{}' CHECK (encrypted OR key_ids = '{}');
DROP FUNCTION agent_backup.backup(text, text, text[], text[]);
DROP FUNCTION agent_backup.create_set(text, text, text[], text, integer, integer, integer, integer, interval, interval, integer, interval, interval, interval);
DROP FUNCTION agent_backup.add_table(text, text, text[], text, text[], jsonb);
DROP FUNCTION agent_backup.add_table(text, regclass, text[], text, text[], jsonb);
DROP INDEX agent_backup.change_log_key, agent_backup.change_log_time;
CREATE INDEX change_log_key ON agent_backup.change_log USING hash (row_key);
CREATE INDEX change_log_time ON agent_backup.change_log USING brin (changed_at, tracked_id) WITH (pages_per_range = 32);

-- from here on

-- by hand: DO $do$ DECLARE role text; BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'agent_backup') THEN RAI

CREATE TABLE agent_backup.audit_log (
    entry_id          bigint PRIMARY KEY CHECK (entry_id > 0),
    happened_at       timestamptz NOT NULL,
    action            text NOT NULL CHECK (action <> ''),
    object            text,
    set_name          text,
    status            text NOT NULL CHECK (status IN ('ok', 'failed', 'denied')),
    session_user_name text NOT NULL,
    current_user_name text NOT NULL,
    client_addr       inet,
    application_name  text,
    backend_pid       integer NOT NULL,
    transaction       xid8,
    details           jsonb NOT NULL CHECK (pg_catalog.jsonb_typeof(details) = 'object'),
    error_code        text CHECK (error_code ~ '^[0-9A-Z]{5}$'),
    error_message     text,
    previous_hash     text CHECK (previous_hash ~ '^[0-9a-f]{64}$'),
    entry_hash        text NOT NULL CHECK (entry_hash ~ '^[0-9a-f]{64}$'),
    CHECK ((entry_id = 1) = (previous_hash IS NULL)),
    CHECK ((status = 'ok') = (error_message IS NULL))
);

CREATE INDEX audit_log_happened_at ON agent_backup.audit_log (happened_at);

COMMENT ON TABLE agent_backup.audit_log IS 'Every act, one row each, failures and denials included; each has the hash of the one before. Nobody can change it; verify_audit_log() proves it';

COMMENT ON COLUMN agent_backup.audit_log.entry_id IS 'Place in the chain: 1, 2, 3 without a gap';

COMMENT ON COLUMN agent_backup.audit_log.happened_at IS 'When the act ended';

COMMENT ON COLUMN agent_backup.audit_log.action IS 'What was done: the name of the function';

COMMENT ON COLUMN agent_backup.audit_log.object IS 'To what: a table, backup, mark, job or file, as it was named';

COMMENT ON COLUMN agent_backup.audit_log.set_name IS 'Of which set';

COMMENT ON COLUMN agent_backup.audit_log.status IS 'ok, failed (with what was rolled back), or denied for the want of a right';

COMMENT ON COLUMN agent_backup.audit_log.session_user_name IS 'Role that the session began with';

COMMENT ON COLUMN agent_backup.audit_log.current_user_name IS 'Role whose rights counted';

COMMENT ON COLUMN agent_backup.audit_log.client_addr IS 'Where the session came from; null for this machine';

COMMENT ON COLUMN agent_backup.audit_log.application_name IS 'What the client calls itself; it can call itself anything';

COMMENT ON COLUMN agent_backup.audit_log.backend_pid IS 'Process of the session, as in the server''s log';

COMMENT ON COLUMN agent_backup.audit_log.transaction IS 'The transaction, if it wrote anything until then';

COMMENT ON COLUMN agent_backup.audit_log.details IS 'Options and counts: names and numbers, never data of rows';

COMMENT ON COLUMN agent_backup.audit_log.error_code IS 'SQLSTATE of the failure; 40000 for what was rolled back';

COMMENT ON COLUMN agent_backup.audit_log.error_message IS 'Why it failed; null where it did not';

COMMENT ON COLUMN agent_backup.audit_log.previous_hash IS 'entry_hash of the entry before; null for the first';

COMMENT ON COLUMN agent_backup.audit_log.entry_hash IS 'SHA-256, in hex, of previous_hash and all the columns before it';

CREATE TABLE agent_backup.audit_chain (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    last_entry bigint NOT NULL CHECK (last_entry >= 0),
    head       text CHECK (head ~ '^[0-9a-f]{64}$'),
    CHECK ((last_entry = 0) = (head IS NULL))
);

COMMENT ON TABLE agent_backup.audit_chain IS 'The newest entry of audit_log';

COMMENT ON COLUMN agent_backup.audit_chain.one IS 'There is one row at most';

COMMENT ON COLUMN agent_backup.audit_chain.last_entry IS 'Its entry_id';

COMMENT ON COLUMN agent_backup.audit_chain.head IS 'Its entry_hash';

CREATE TABLE agent_backup.audit_checks (
    check_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    checked_at  timestamptz NOT NULL,
    checked_by  text NOT NULL,
    status      text NOT NULL CHECK (status IN ('ok', 'failed')),
    last_entry  bigint NOT NULL CHECK (last_entry >= 0),
    head        text CHECK (head ~ '^[0-9a-f]{64}$'),
    entries     bigint NOT NULL CHECK (entries >= 0),
    problems    text[] NOT NULL CHECK (pg_catalog.array_position(problems, NULL) IS NULL),
    CHECK ((status = 'ok') = (pg_catalog.cardinality(problems) = 0))
);

CREATE INDEX audit_checks_checked_at ON agent_backup.audit_checks (checked_at DESC);

COMMENT ON TABLE agent_backup.audit_checks IS 'Verifications of audit_log, one row each; what they found is held against the log by later ones';

COMMENT ON COLUMN agent_backup.audit_checks.check_id IS 'Number of the verification';

COMMENT ON COLUMN agent_backup.audit_checks.checked_at IS 'When';

COMMENT ON COLUMN agent_backup.audit_checks.checked_by IS 'Role of the session';

COMMENT ON COLUMN agent_backup.audit_checks.status IS 'ok or failed';

COMMENT ON COLUMN agent_backup.audit_checks.last_entry IS 'The newest entry then; 0 in an empty log';

COMMENT ON COLUMN agent_backup.audit_checks.head IS 'Its hash';

COMMENT ON COLUMN agent_backup.audit_checks.entries IS 'How many there were';

COMMENT ON COLUMN agent_backup.audit_checks.problems IS 'What was wrong';

CREATE OR REPLACE FUNCTION agent_backup.guard_audit() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_guard_audit';

COMMENT ON FUNCTION agent_backup.guard_audit() IS 'Refuses whatever would change the log of acts, but for the extension itself, and for a dump that is loaded before the first act';

-- by hand: DO $do$ DECLARE guarded text; BEGIN FOREACH guarded IN ARRAY '{audit_log,audit_chain,audit_checks}'::text[] LOOP EXECUTE

SELECT pg_catalog.pg_extension_config_dump('agent_backup.audit_log', '');

SELECT pg_catalog.pg_extension_config_dump('agent_backup.audit_checks', '');

SELECT pg_catalog.pg_extension_config_dump('agent_backup.audit_checks_check_id_seq', '');

-- by hand: CREATE TABLE agent_backup.sets ( set_name text PRIMARY KEY CHECK (set_name <> '' AND octet_length(set_name) <= 63), desc

COMMENT ON COLUMN agent_backup.sets.recipients_file IS 'File on the server with the public keys that its backups are encrypted for; null: agent_backup.recipients_file holds. Change with set_encryption';

-- by hand: CREATE TABLE agent_backup.set_tables ( set_name text NOT NULL REFERENCES agent_backup.sets ON DELETE CASCADE ON UPDATE C

COMMENT ON COLUMN agent_backup.set_tables.subject_columns IS 'Columns and paths such as data->>''customer_email'' that name a person, see erase_subject. Change with set_subject_columns';

CREATE OR REPLACE FUNCTION agent_backup.access_rules() RETURNS TABLE (kind text, name text, roles text[])
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $fn$
    -- operator, restorer, auditor; the admin is a member of all three. Every overload of a name has the same rule.
    SELECT 'function', f, '{operator}'::text[] FROM unnest('{
        backup, backup_agent_table_to_json, export_table, incremental, backup_agent_incremental, reconcile,
        create_set, drop_set, add_table, remove_table, set_change_source, set_subject_columns,
        expire_incrementals, prune, pin, unpin, set_retention,
        add_destination, remove_destination, upload, verify_offsite, import_offsite, prune_offsite,
        schedule, unschedule, crontab, run_job, begin_job, do_job, end_job,
        track, untrack, maintain_log,
        set_encryption, reseal}'::text[]) AS f
    UNION ALL
    SELECT 'function', f, '{operator,restorer}' FROM unnest('{
        verify, verify_backup, verify_daily_backups, assess, diff, read_backup, drill, mark, drop_mark, recovery_points}'::text[]) AS f
    UNION ALL
    SELECT 'function', f, '{restorer}' FROM unnest('{
        restore_plan, restore, restore_table, restore_record, undo_restore,
        undo, restore_table_as_of, record_history, read_as_of}'::text[]) AS f
    UNION ALL
    SELECT 'function', f, '{operator,auditor}' FROM unnest('{verify_audit_log, retention_plan, evidence_report, erasure_certificate}'::text[]) AS f
    UNION ALL
    SELECT 'function', f, '{admin}' FROM unnest('{erase_subject}'::text[]) AS f
    UNION ALL
    -- What views are made with, and what reads no more than they do.
    SELECT 'function', f, '{operator,restorer,auditor}' FROM unnest('{
        clock, in_words, next_due, last_due, lock_key, job_is_active, image_to_jsonb, recent_verifications, disk_space, disk_state, room_for,
        runbook, platform_report, metrics, encryption_state}'::text[]) AS f
    UNION ALL
    -- Triggers fire for whoever writes; nobody calls these.
    SELECT 'function', f, '{}' FROM unnest('{
        capture, change_archive, keep_archive_rows, give_way_to_restored_set, guard_audit, watch_tracked, watch_drop,
        note_act, access_rules, grant_access, s3_validator}'::text[]) AS f
    UNION ALL
    SELECT 'relation', r, '{operator,restorer,auditor}' FROM unnest('{
        sets, set_tables, backups, backup_files, running, good_backups, pruned_backups, backup_verification_log,
        restores, drills, drill_queries, marks, tracked, tracked_now, tracked_tables, capture_gaps, sealed_log, change_sources, watermarks,
        job_runs, incremental_runs, scheduled_jobs, schedules, late_jobs,
        offsite_destinations, offsite_copies, offsite_imports,
        recovery_state, set_points, rpo_rto_report, backup_status, checklist, metric_samples,
        health, health_tables, health_sets, health_jobs, health_capture, health_disk, health_server, health_offsite, health_audit, health_encryption,
        access_matrix}'::text[]) AS r
    UNION ALL
    SELECT 'relation', r, '{operator,auditor}' FROM unnest('{erasure_log}'::text[]) AS r
    UNION ALL
    SELECT 'relation', r, '{auditor}' FROM unnest('{audit_log, audit_chain, audit_checks, backup_catalog, backup_entry, offsite_catalog}'::text[]) AS r
    UNION ALL
    -- Rows of users are in these.
    SELECT 'relation', r, '{}' FROM unnest('{
        erasures, tombstones, erased_backups, archive_rows, agent_training_archive, change_log, row_shapes, this_home}'::text[]) AS r
$fn$;

COMMENT ON FUNCTION agent_backup.access_rules() IS 'Part of access_matrix: which roles may call a function of the extension or read a table or view of it';

CREATE OR REPLACE FUNCTION agent_backup.grant_access() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
    o      record;
    missed text;
BEGIN
    FOR o IN
        SELECT m.kind, m.name, m.thing, r.roles
          FROM (SELECT 'function' AS kind, p.proname::text AS name, format('ROUTINE %s', p.oid::regprocedure) AS thing
                  FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
                 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
                   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agent_backup')
                UNION ALL
                SELECT 'relation', CASE WHEN c.relname ~ '^change_log_(default|[0-9]{8})$' THEN 'change_log' ELSE c.relname::text END,
                       format('TABLE %s', c.oid::regclass)
                  FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
                 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p', 'v', 'm')
                   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'agent_backup')) m
          LEFT JOIN agent_backup.access_rules() r ON r.kind = m.kind AND r.name = m.name
         ORDER BY m.thing
    LOOP
        IF o.roles IS NULL THEN
            RAISE EXCEPTION '% "%" is in no rule of agent_backup.access_rules()', o.kind, o.name
                USING HINT = 'Name it in sql/99_access.sql.';
        END IF;
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, agent_backup_operator, agent_backup_restorer, agent_backup_auditor, agent_backup_admin', o.thing);
        IF o.roles <> '{}' THEN
            EXECUTE format('GRANT %s ON %s TO %s', CASE o.kind WHEN 'function' THEN 'EXECUTE' ELSE 'SELECT' END, o.thing,
                           (SELECT string_agg('agent_backup_' || role, ', ') FROM unnest(o.roles) AS role));
        END IF;
    END LOOP;
    -- The log of verifications and the archive may be an application's: then they and what they are made with are no members.
    SELECT string_agg(r.kind || ' ' || r.name, ', ') INTO missed
      FROM agent_backup.access_rules() r
     WHERE r.name NOT IN ('backup_verification_log', 'agent_training_archive', 'archive_rows', 'change_archive', 'keep_archive_rows')
       AND NOT CASE r.kind WHEN 'function' THEN EXISTS (SELECT FROM pg_proc p WHERE p.proname = r.name)
                    ELSE EXISTS (SELECT FROM pg_class c WHERE c.relname = r.name) END;
    IF missed IS NOT NULL THEN
        RAISE EXCEPTION 'agent_backup.access_rules() names what is not there: %', missed;
    END IF;
END
$fn$;

COMMENT ON FUNCTION agent_backup.grant_access() IS 'Part of the installation: makes the grants of access_rules(), and takes all others from its roles and PUBLIC; for the extension itself';

CREATE OR REPLACE VIEW agent_backup.access_matrix AS
WITH object AS (
    SELECT p.oid, CASE WHEN n.nspname = 'agent_backup' THEN 'agent_backup.' ELSE '' END || p.proname
                  || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' AS name,
           CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind,
           COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl, p.proowner AS owner, '{EXECUTE}'::text[] AS privileges
      FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.objid
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
       AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'agent_backup')
    UNION ALL
    SELECT c.oid, CASE WHEN n.nspname = 'agent_backup' THEN 'agent_backup.' ELSE '' END || c.relname,
           CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END,
           COALESCE(c.relacl, pg_catalog.acldefault('r', c.relowner)), c.relowner, '{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'
      FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p', 'v', 'm')
       AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'agent_backup')
), grantee AS (
        SELECT o.oid, o.name, o.kind, r.rolname::text AS role_name, w.privilege
      FROM object o
     CROSS JOIN LATERAL pg_catalog.unnest(o.privileges) AS w(privilege)
     CROSS JOIN pg_catalog.pg_roles r
     WHERE r.rolname IN ('agent_backup_operator', 'agent_backup_restorer', 'agent_backup_auditor', 'agent_backup_admin')
       AND CASE WHEN w.privilege = 'EXECUTE' THEN pg_catalog.has_function_privilege(r.oid, o.oid, 'EXECUTE')
                ELSE pg_catalog.has_table_privilege(r.oid, o.oid, w.privilege) END
    UNION
        SELECT o.oid, o.name, o.kind, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END, a.privilege_type
      FROM object o CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) a
     WHERE a.grantee <> o.owner
)
SELECT g.name AS object_name, g.kind AS object_kind, g.role_name, g.privilege FROM grantee g;

COMMENT ON VIEW agent_backup.access_matrix IS 'Who may do what: each function, procedure, table and view of the extension with the roles that may use it, as the catalogue has it; superusers and the owner may do all';

COMMENT ON COLUMN agent_backup.access_matrix.object_name IS 'The object, a function with its argument types';

COMMENT ON COLUMN agent_backup.access_matrix.object_kind IS 'function, procedure, table or view';

COMMENT ON COLUMN agent_backup.access_matrix.role_name IS 'The role, by its own grant or as a member; PUBLIC for anybody';

COMMENT ON COLUMN agent_backup.access_matrix.privilege IS 'EXECUTE, SELECT, INSERT, UPDATE, DELETE or TRUNCATE';

CREATE OR REPLACE FUNCTION agent_backup.watch_drop() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_watch_drop';

COMMENT ON FUNCTION agent_backup.watch_drop() IS 'Refuses DROP EXTENSION agent_backup without CASCADE while there are backups, sets, logs or archived rows';

CREATE EVENT TRIGGER agent_backup_watch_drop ON ddl_command_start WHEN TAG IN ('DROP EXTENSION')
    EXECUTE FUNCTION agent_backup.watch_drop();

ALTER EVENT TRIGGER agent_backup_watch_drop ENABLE ALWAYS;

COMMENT ON EVENT TRIGGER agent_backup_watch_drop IS 'Keeps backups, sets and logs from going with DROP EXTENSION unasked';

CREATE OR REPLACE FUNCTION agent_backup."erase_subject"(
	"column_or_path" TEXT,
	"value" TEXT,
	"reason" TEXT,
	"set_name" TEXT DEFAULT 'agent_sdk',
	"confirm" bool DEFAULT false
) RETURNS TABLE (
	"place" TEXT,
	"object" TEXT,
	"backup_id" TEXT,
	"row_count" bigint,
	"chunks" bigint,
	"bytes" bigint,
	"action" TEXT,
	"details" TEXT
)

LANGUAGE c
AS 'MODULE_PATHNAME', 'erase_subject_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."note_act"(
	"action" TEXT,
	"changed" bigint,
	"code" TEXT
) RETURNS VOID

LANGUAGE c
AS 'MODULE_PATHNAME', 'note_act_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."backup"(
	"set_name" TEXT DEFAULT 'agent_sdk',
	"kind" TEXT DEFAULT 'full',
	"formats" TEXT[] DEFAULT NULL,
	"tables" TEXT[] DEFAULT NULL,
	"destination" TEXT DEFAULT NULL
) RETURNS TABLE (
	"table_name" TEXT,
	"status" TEXT,
	"row_count" bigint,
	"size_bytes" bigint,
	"checksum" TEXT,
	"backup_file" TEXT,
	"duration" interval,
	"error_message" TEXT
)

LANGUAGE c
AS 'MODULE_PATHNAME', 'backup_set_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."set_subject_columns"(
	"set_name" TEXT,
	"table_name" TEXT,
	"subject_columns" TEXT[]
) RETURNS TEXT

LANGUAGE c
AS 'MODULE_PATHNAME', 'set_subject_columns_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."import_offsite"(
	"url" TEXT,
	"set_name" TEXT DEFAULT NULL,
	"server_name" TEXT DEFAULT NULL
) RETURNS TABLE (
	"backup_file" TEXT,
	"backup_id" TEXT,
	"action" TEXT,
	"details" TEXT
)

LANGUAGE c
AS 'MODULE_PATHNAME', 'import_offsite_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."set_encryption"(
	"set_name" TEXT,
	"recipients_file" TEXT
) RETURNS TEXT[]

LANGUAGE c
AS 'MODULE_PATHNAME', 'set_encryption_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."verify_offsite"(
	"set_name" TEXT DEFAULT 'agent_sdk',
	"destination" TEXT DEFAULT NULL,
	"level" TEXT DEFAULT 'checksum'
) RETURNS TABLE (
	"destination" TEXT,
	"backup_id" TEXT,
	"level" TEXT,
	"status" TEXT,
	"size_bytes" bigint,
	"duration" interval,
	"details" TEXT
)

LANGUAGE c
AS 'MODULE_PATHNAME', 'verify_offsite_wrapper';

COMMENT ON PROCEDURE agent_backup.run_job IS 'Runs a job of a set: daily (full backup), hourly (incremental), verify, weekly (archive), monthly (drill), prune or offsite (copies elsewhere). A failure is committed to job_runs, told to who listens on the channel agent_backup, and raised';

CREATE OR REPLACE FUNCTION agent_backup."remove_destination"(
	"set_name" TEXT,
	"url" TEXT
) RETURNS VOID

LANGUAGE c
AS 'MODULE_PATHNAME', 'remove_destination_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."add_destination"(
	"set_name" TEXT,
	"url" TEXT,
	"server_name" TEXT DEFAULT NULL,
	"keep_daily" INT DEFAULT NULL,
	"keep_weekly" INT DEFAULT NULL,
	"keep_monthly" INT DEFAULT NULL,
	"keep_last" INT DEFAULT NULL,
	"max_age" interval DEFAULT NULL
) RETURNS TEXT

LANGUAGE c
AS 'MODULE_PATHNAME', 'add_destination_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."encryption_state"() RETURNS TABLE (
	"set_name" TEXT,
	"severity" TEXT,
	"reason" TEXT,
	"action" TEXT
)
STRICT
LANGUAGE c
AS 'MODULE_PATHNAME', 'encryption_state_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."create_set"(
	"set_name" TEXT,
	"description" TEXT DEFAULT NULL,
	"formats" TEXT[] DEFAULT '{csv,json}',
	"compression" TEXT DEFAULT 'gzip',
	"compression_level" INT DEFAULT 1,
	"keep_daily" INT DEFAULT 7,
	"keep_weekly" INT DEFAULT 4,
	"keep_monthly" INT DEFAULT 12,
	"rto" interval DEFAULT '2 hours',
	"rpo" interval DEFAULT '1 hour',
	"keep_last" INT DEFAULT 0,
	"keep_within" interval DEFAULT NULL,
	"max_age" interval DEFAULT NULL,
	"backup_interval" interval DEFAULT '1 day',
	"recipients_file" TEXT DEFAULT NULL
) RETURNS VOID

LANGUAGE c
AS 'MODULE_PATHNAME', 'make_set_wrapper';

-- by hand: CREATE TABLE agent_backup.backup_catalog ( backup_id text PRIMARY KEY CHECK (backup_id <> ''), set_name text NOT NULL, k

COMMENT ON COLUMN agent_backup.backup_catalog.encrypted IS 'Whether its rows are readable only with a key';

COMMENT ON COLUMN agent_backup.backup_catalog.key_ids IS 'Ids of the keys that open it, as its manifest names them';

CREATE OR REPLACE VIEW agent_backup.backups AS
SELECT backup_id, set_name, kind, status, started_at, finished_at, tables, row_count, size_bytes,
       directory || '/' || file_name AS backup_file,
       directory || '/' || manifest_name AS manifest_file,
       verified_at, verification_status, pinned, error_message, verification_level, pin_reason, encrypted, key_ids
  FROM agent_backup.backup_catalog
UNION ALL
SELECT NULL, set_name, 'full', 'running', started_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, NULL, NULL, NULL, NULL
  FROM agent_backup.running;

COMMENT ON COLUMN agent_backup.backups.encrypted IS 'Whether its rows are readable only with a key; null while it runs';

COMMENT ON COLUMN agent_backup.backups.key_ids IS 'Ids of the keys that open it; null while it runs';

-- by hand: CREATE INDEX change_log_key ON agent_backup.change_log USING hash (row_key)

-- by hand: CREATE INDEX change_log_time ON agent_backup.change_log USING brin (changed_at, tracked_id) WITH (pages_per_range = 32)

CREATE OR REPLACE FUNCTION agent_backup.maintain_log(keep interval DEFAULT '30 days', ahead integer DEFAULT 7)
RETURNS TABLE (partition_name text, action text, row_count bigint, file_path text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    part    record;
    written record;
    day     date;
    changed bigint := 0;
BEGIN
    BEGIN
        IF keep IS NULL OR keep < '1 day' THEN
            RAISE EXCEPTION 'invalid keep: it is below one day' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF ahead IS NULL OR ahead NOT BETWEEN 1 AND 366 THEN
            RAISE EXCEPTION 'invalid ahead: it is not between 1 and 366' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        -- The files first, under a lock that lets writers on; what shuts them out comes last.
        FOR part IN
            SELECT c.oid, c.relname, to_date(right(c.relname, 8), 'YYYYMMDD') AS of_day
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'agent_backup.change_log'::regclass AND c.relname ~ '^change_log_[0-9]{8}$'
             ORDER BY 2
        LOOP
            CONTINUE WHEN (part.of_day + 1)::timestamp AT TIME ZONE 'UTC' > now() - keep;
            EXECUTE format('SELECT count(*) FROM agent_backup.%I', part.relname) INTO row_count;
            file_path := NULL;
            IF row_count > 0 THEN
                SELECT e.* INTO STRICT written
                  FROM agent_backup.export_table(format('agent_backup.%I', part.relname), 'csv', format('changes/%s.csv.gz', part.relname)) AS e;
                file_path := written.export_file;
            END IF;
            INSERT INTO agent_backup.sealed_log (partition_name, from_time, until_time, row_count, file_path, checksum)
            VALUES (part.relname, part.of_day::timestamp AT TIME ZONE 'UTC', (part.of_day + 1)::timestamp AT TIME ZONE 'UTC',
                    row_count, file_path, CASE WHEN row_count > 0 THEN written.checksum END);
            EXECUTE format('DROP TABLE agent_backup.%I', part.relname);
            partition_name := part.relname;
            action := 'sealed';
            changed := changed + 1;
            RETURN NEXT;
        END LOOP;
        FOR day IN SELECT today + n FROM generate_series(1, ahead) AS n LOOP
            partition_name := 'change_log_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass('agent_backup.' || partition_name) IS NOT NULL
                       OR EXISTS (SELECT FROM agent_backup.change_log_default
                                   WHERE changed_at >= day::timestamp AT TIME ZONE 'UTC' AND changed_at < (day + 1)::timestamp AT TIME ZONE 'UTC');
            EXECUTE format('CREATE TABLE agent_backup.%I PARTITION OF agent_backup.change_log FOR VALUES FROM (%L) TO (%L)',
                           partition_name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
            action := 'made';
            row_count := 0;
            file_path := NULL;
            changed := changed + 1;
            RETURN NEXT;
        END LOOP;
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
        PERFORM agent_backup.note_act('maintain_log'::text, changed, SQLSTATE::text);
        RAISE;
    END;
    PERFORM agent_backup.note_act('maintain_log'::text, changed, NULL::text);
END
$fn$;

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

CREATE OR REPLACE VIEW agent_backup.erasure_log AS
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

CREATE OR REPLACE FUNCTION agent_backup.erasure_certificate(erasure_id text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $fn$ SELECT l.certificate FROM agent_backup.erasure_log l WHERE l.erasure_id = $1 $fn$;

COMMENT ON FUNCTION agent_backup.erasure_certificate IS 'What an erasure removed where, what it could not reach, and by when that expires; null where there is no such erasure';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.erasures', '');

SELECT pg_catalog.pg_extension_config_dump('agent_backup.tombstones', '');

SELECT pg_catalog.pg_extension_config_dump('agent_backup.erased_backups', '');

CREATE OR REPLACE VIEW agent_backup.health_encryption AS
SELECT pg_catalog.format('%s: encryption', e.set_name) AS subject, e.severity, NULL::timestamptz AS since, e.reason, e.action
  FROM agent_backup.encryption_state() e;

COMMENT ON VIEW agent_backup.health_encryption IS 'Part of health: whether the keys of encrypted sets can be used';

CREATE OR REPLACE FUNCTION agent_backup.platform_report() RETURNS TABLE (topic text, value text, note text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' AS $fn$
    WITH hosted AS (
        SELECT h.platform FROM (VALUES
            (1, 'Supabase', 'supabase_admin', 'supautils.policy_grants'), (2, 'Amazon RDS or Aurora', 'rds_superuser', 'rds.extensions'),
            (3, 'Google Cloud SQL', 'cloudsqlsuperuser', 'cloudsql.iam_authentication'), (4, 'Azure Database', 'azure_pg_admin', 'azure.extensions'),
            (5, 'Google AlloyDB', 'alloydbsuperuser', 'alloydb.iam_authentication'), (6, 'Neon', 'neon_superuser', 'neon.tenant_id')
        ) AS h(place, platform, role, setting)
         WHERE EXISTS (SELECT FROM pg_roles r WHERE r.rolname = h.role) OR current_setting(h.setting, true) IS NOT NULL
         ORDER BY h.place LIMIT 1
    )
    SELECT t.topic, t.value, t.note FROM (
        SELECT 1 AS place, 'server' AS topic, 'PostgreSQL ' || current_setting('server_version') AS value,
               format('up for %s%s', agent_backup.in_words(now() - pg_postmaster_start_time()),
                      CASE WHEN pg_is_in_recovery() THEN '; a standby: backups made here are listed by the primary''s reconcile()' ELSE '' END) AS note
        UNION ALL
        SELECT 2, 'agent_backup', e.extversion,
               CASE WHEN e.extversion = a.default_version THEN 'the newest version that is installed here'
                    ELSE format('version %s is installed: ALTER EXTENSION agent_backup UPDATE;', a.default_version) END
          FROM pg_extension e LEFT JOIN pg_available_extensions a ON a.name = e.extname WHERE e.extname = 'agent_backup'
        UNION ALL
        SELECT 3, 'backup directory', COALESCE(NULLIF(current_setting('agent_backup.directory', true), ''), 'agent_backup in the data directory'),
               CASE WHEN COALESCE(current_setting('agent_backup.directory', true), '') = '' THEN 'agent_backup.directory is not set' ELSE 'set by agent_backup.directory' END
        UNION ALL
        SELECT 4, 'disk of the backups', COALESCE(pg_size_pretty(d.free_bytes) || ' free', 'unknown'),
               COALESCE(d.failure, format('of %s; backups take %s%s', pg_size_pretty(d.total_bytes), pg_size_pretty(d.used_by_backups_bytes),
                                          CASE WHEN d.same_disk_as_database THEN '; the database is on it too' ELSE '' END))
          FROM agent_backup.disk_state() AS d
        UNION ALL
        SELECT 5, 'wal_level', current_setting('wal_level'),
               CASE current_setting('wal_level') WHEN 'minimal' THEN 'no archiving, standby or backup of the whole server is possible' ELSE 'enough for archiving and standbys' END
        UNION ALL
        SELECT 6, 'WAL archiving', current_setting('archive_mode'),
               CASE WHEN current_setting('archive_mode') = 'off' THEN 'the whole server cannot be brought back to a moment'
                    ELSE format('%s archived, the last %s; %s failed, the last %s', a.archived_count, COALESCE(date_trunc('second', a.last_archived_time)::text, 'never'),
                                a.failed_count, COALESCE(date_trunc('second', a.last_failed_time)::text, 'never')) END
          FROM pg_stat_archiver a
        UNION ALL
        SELECT 7, 'replicas', (SELECT count(*)::text FROM pg_stat_replication), 'a replica repeats every mistake: it is no backup'
        UNION ALL
        SELECT 8, 'replication slots', count(*)::text,
               CASE WHEN count(*) FILTER (WHERE NOT s.active) > 0 THEN format('%s not in use: they hold back WAL until the disk is full', count(*) FILTER (WHERE NOT s.active))
                    ELSE 'all are in use' END
          FROM pg_replication_slots s
        UNION ALL
        SELECT 9, 'data checksums', current_setting('data_checksums'),
               CASE current_setting('data_checksums') WHEN 'on' THEN 'damage by the disk is noticed when it is read' ELSE 'damage by the disk can go unnoticed' END
        UNION ALL
        SELECT 10, 'fsync', current_setting('fsync'), CASE current_setting('fsync') WHEN 'on' THEN 'a commit outlives a crash' ELSE 'a crash can destroy the database' END
        UNION ALL
        SELECT 11, 'full_page_writes', current_setting('full_page_writes'),
               CASE current_setting('full_page_writes') WHEN 'on' THEN 'half-written pages are mended after a crash' ELSE 'a crash can leave half-written pages' END
        UNION ALL
        SELECT 12, 'pg_cron', COALESCE(e.extversion, CASE WHEN c.home IS NOT NULL THEN 'loaded' ELSE 'not loaded' END),
               CASE WHEN c.home IS NULL THEN 'add pg_cron to shared_preload_libraries and restart the server, or use another scheduler'
                    ELSE format('jobs are kept in database %s; times are in %s', c.home, COALESCE(current_setting('cron.timezone', true), 'GMT')) END
          FROM (SELECT current_setting('cron.database_name', true) AS home) AS c
          LEFT JOIN pg_extension e ON e.extname = 'pg_cron'
        UNION ALL
        SELECT 13, 'hosting platform', COALESCE((SELECT h.platform FROM hosted h), 'none known'),
               CASE WHEN EXISTS (SELECT FROM hosted) THEN 'its own backups cannot be seen from here: check in its console that they are made, how long they are kept, and that one was restored'
                    ELSE 'by its roles and settings; backups of the whole server are yours to make' END
    ) AS t
    ORDER BY t.place
$fn$;

CREATE OR REPLACE VIEW agent_backup.health_audit AS
SELECT 'log of acts' AS subject, v.severity, c.checked_at AS since, v.reason,
       CASE WHEN v.severity <> 'OK' THEN 'SELECT * FROM agent_backup.verify_audit_log();' END AS action
  FROM (SELECT agent_backup.clock() AS now) AS moment
  LEFT JOIN LATERAL (SELECT k.* FROM agent_backup.audit_checks k ORDER BY k.check_id DESC LIMIT 1) AS c ON true
  LEFT JOIN LATERAL (SELECT l.happened_at FROM agent_backup.audit_log l ORDER BY l.entry_id LIMIT 1) AS first ON true
 CROSS JOIN LATERAL (
    SELECT CASE WHEN c.status = 'failed' THEN 'FAILED'
                WHEN COALESCE(c.checked_at, first.happened_at, moment.now) < moment.now - interval '8 days' THEN 'WARNING'
                ELSE 'OK' END AS severity,
           CASE WHEN c.status = 'failed' THEN 'it is damaged: ' || c.problems[1]
                WHEN c.checked_at IS NULL THEN 'it was never verified'
                ELSE pg_catalog.format('%s entries were whole %s ago', c.entries, agent_backup.in_words(moment.now - c.checked_at)) END AS reason) AS v;

COMMENT ON VIEW agent_backup.health_audit IS 'Part of health: the log of acts';

CREATE OR REPLACE FUNCTION agent_backup."add_table"(
	"set_name" TEXT,
	"table_name" TEXT,
	"formats" TEXT[] DEFAULT NULL,
	"row_filter" TEXT DEFAULT NULL,
	"excluded_columns" TEXT[] DEFAULT '{}',
	"masked_columns" jsonb DEFAULT '{}',
	"subject_columns" TEXT[] DEFAULT '{}'
) RETURNS TEXT

LANGUAGE c
AS 'MODULE_PATHNAME', 'put_table_wrapper';

CREATE OR REPLACE FUNCTION agent_backup.add_table(
    set_name text, relation regclass, formats text[] DEFAULT NULL, row_filter text DEFAULT NULL,
    excluded_columns text[] DEFAULT '{}', masked_columns jsonb DEFAULT '{}', subject_columns text[] DEFAULT '{}')
RETURNS text
LANGUAGE sql AS $fn$ SELECT agent_backup.add_table($1, $2::text, $3, $4, $5, $6, $7) $fn$;

CREATE OR REPLACE FUNCTION agent_backup."upload"(
	"set_name" TEXT DEFAULT 'agent_sdk',
	"destination" TEXT DEFAULT NULL
) RETURNS TABLE (
	"destination" TEXT,
	"object_key" TEXT,
	"backup_id" TEXT,
	"action" TEXT,
	"size_bytes" bigint,
	"duration" interval,
	"error_message" TEXT
)

LANGUAGE c
AS 'MODULE_PATHNAME', 'run_upload_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."s3_validator"(
	"options" TEXT[],
	"catalog" oid
) RETURNS VOID
STRICT
LANGUAGE c
AS 'MODULE_PATHNAME', 's3_validator_wrapper';

CREATE FOREIGN DATA WRAPPER agent_backup_s3 NO HANDLER VALIDATOR agent_backup.s3_validator;

COMMENT ON FOREIGN DATA WRAPPER agent_backup_s3 IS 'Servers of it are S3 stores for copies of backups: endpoint, region, path_style, ca_bundle, allow_http; user mappings have access_key_id, secret_access_key, session_token';

CREATE TABLE agent_backup.offsite_destinations (
    set_name     text NOT NULL REFERENCES agent_backup.sets ON DELETE CASCADE ON UPDATE CASCADE,
    url          text NOT NULL CHECK (url ~ '^(s3://|file:///)'),
    server_name  text CHECK (server_name <> ''),
    keep_daily   integer NOT NULL CHECK (keep_daily >= 0),
    keep_weekly  integer NOT NULL CHECK (keep_weekly >= 0),
    keep_monthly integer NOT NULL CHECK (keep_monthly >= 0),
    keep_last    integer NOT NULL CHECK (keep_last >= 0),
    max_age      interval CHECK (max_age >= '1 day'),
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL DEFAULT session_user,
    PRIMARY KEY (set_name, url),
    CHECK (keep_daily + keep_weekly + keep_monthly + keep_last > 0)
);

COMMENT ON TABLE agent_backup.offsite_destinations IS 'Where copies of the backups of a set go. Change with add_destination and remove_destination';

COMMENT ON COLUMN agent_backup.offsite_destinations.set_name IS 'The set';

COMMENT ON COLUMN agent_backup.offsite_destinations.url IS 'The place: s3://bucket/prefix or file:///directory; holds no credentials';

COMMENT ON COLUMN agent_backup.offsite_destinations.server_name IS 'Foreign server of agent_backup_s3 that says how it is reached; null: agent_backup.offsite_server, else the environment of the server';

COMMENT ON COLUMN agent_backup.offsite_destinations.keep_daily IS 'Daily copies to keep there';

COMMENT ON COLUMN agent_backup.offsite_destinations.keep_weekly IS 'Weekly copies to keep there';

COMMENT ON COLUMN agent_backup.offsite_destinations.keep_monthly IS 'Monthly copies to keep there';

COMMENT ON COLUMN agent_backup.offsite_destinations.keep_last IS 'Newest copies to keep there, however many a day';

COMMENT ON COLUMN agent_backup.offsite_destinations.max_age IS 'No copy is kept there longer, but the newest good one; null for no limit';

COMMENT ON COLUMN agent_backup.offsite_destinations.created_at IS 'When it was added';

COMMENT ON COLUMN agent_backup.offsite_destinations.created_by IS 'Who added it';

CREATE TABLE agent_backup.offsite_catalog (
    destination         text NOT NULL CHECK (destination <> ''),
    backup_id           text NOT NULL CHECK (backup_id <> ''),
    set_name            text NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('full', 'archive', 'safety')),
    started_at          timestamptz NOT NULL,
    system_identifier   text NOT NULL,
    database_name       text NOT NULL,
    object_key          text NOT NULL CHECK (object_key <> ''),
    manifest_key        text NOT NULL CHECK (manifest_key <> ''),
    size_bytes          bigint CHECK (size_bytes >= 0),
    file_sha256         text CHECK (file_sha256 ~ '^[0-9a-f]{64}$'),
    manifest_sha256     text NOT NULL CHECK (manifest_sha256 ~ '^[0-9a-f]{64}$'),
    status              text NOT NULL CHECK (status IN ('complete', 'missing', 'failed', 'retained')),
    uploaded_at         timestamptz,
    verified_at         timestamptz,
    verification_status text CHECK (verification_status IN ('success', 'failed')),
    verification_level  text CHECK (verification_level IN ('exists', 'size', 'checksum', 'sample', 'read')),
    error_message       text,
    PRIMARY KEY (destination, backup_id),
    CHECK (status <> 'complete' OR (uploaded_at IS NOT NULL AND size_bytes IS NOT NULL)),
    CHECK (status NOT IN ('failed', 'missing') OR error_message IS NOT NULL),
    CHECK ((verified_at IS NULL) = (verification_status IS NULL)),
    CHECK ((verified_at IS NULL) = (verification_level IS NULL))
);

CREATE INDEX offsite_catalog_set_started ON agent_backup.offsite_catalog (set_name, started_at DESC);

COMMENT ON TABLE agent_backup.offsite_catalog IS 'Copies of backups in other places, one row each; read it through the view offsite_copies';

COMMENT ON COLUMN agent_backup.offsite_catalog.destination IS 'The place, as in offsite_destinations';

COMMENT ON COLUMN agent_backup.offsite_catalog.backup_id IS 'The backup; it may be gone here';

COMMENT ON COLUMN agent_backup.offsite_catalog.set_name IS 'Its set';

COMMENT ON COLUMN agent_backup.offsite_catalog.kind IS 'full, archive or safety';

COMMENT ON COLUMN agent_backup.offsite_catalog.started_at IS 'When the backup began';

COMMENT ON COLUMN agent_backup.offsite_catalog.system_identifier IS 'Cluster that made it';

COMMENT ON COLUMN agent_backup.offsite_catalog.database_name IS 'Database that made it';

COMMENT ON COLUMN agent_backup.offsite_catalog.object_key IS 'Key of the container below the destination';

COMMENT ON COLUMN agent_backup.offsite_catalog.manifest_key IS 'Key of the manifest below the destination';

COMMENT ON COLUMN agent_backup.offsite_catalog.size_bytes IS 'Bytes of the container there; null of one that never arrived';

COMMENT ON COLUMN agent_backup.offsite_catalog.file_sha256 IS 'SHA-256 that the container must have';

COMMENT ON COLUMN agent_backup.offsite_catalog.manifest_sha256 IS 'SHA-256 that the manifest must have';

COMMENT ON COLUMN agent_backup.offsite_catalog.status IS 'complete; missing: it is not there any more; failed: it could not be sent; retained: a lock of the store keeps what should go';

COMMENT ON COLUMN agent_backup.offsite_catalog.uploaded_at IS 'When it was complete there, or was found to be; null for never';

COMMENT ON COLUMN agent_backup.offsite_catalog.verified_at IS 'When it was last looked at there; null for never';

COMMENT ON COLUMN agent_backup.offsite_catalog.verification_status IS 'Verdict of that: success or failed';

COMMENT ON COLUMN agent_backup.offsite_catalog.verification_level IS 'How much that proved: exists, size, checksum, sample or read';

COMMENT ON COLUMN agent_backup.offsite_catalog.error_message IS 'What is wrong with it; null for nothing';

CREATE TABLE agent_backup.offsite_imports (
    url         text PRIMARY KEY CHECK (url ~ '^(s3://|file:///)'),
    server_name text CHECK (server_name <> ''),
    imported_at timestamptz NOT NULL DEFAULT now(),
    imported_by text NOT NULL DEFAULT session_user
);

COMMENT ON TABLE agent_backup.offsite_imports IS 'Stores whose backups import_offsite listed here, and how each is reached';

COMMENT ON COLUMN agent_backup.offsite_imports.url IS 'The place: s3://bucket/prefix or file:///directory';

COMMENT ON COLUMN agent_backup.offsite_imports.server_name IS 'Foreign server of agent_backup_s3 that says how it is reached; null: agent_backup.offsite_server, else the environment of the server';

COMMENT ON COLUMN agent_backup.offsite_imports.imported_at IS 'When that was last done';

COMMENT ON COLUMN agent_backup.offsite_imports.imported_by IS 'By whom';

CREATE OR REPLACE VIEW agent_backup.offsite_copies AS
SELECT set_name, backup_id, destination, status, uploaded_at, size_bytes, object_key, verified_at, verification_status, verification_level,
       error_message, started_at, kind
  FROM agent_backup.offsite_catalog;

COMMENT ON VIEW agent_backup.offsite_copies IS 'Copies of backups in other places, one row per backup and destination';

COMMENT ON COLUMN agent_backup.offsite_copies.set_name IS 'The set';

COMMENT ON COLUMN agent_backup.offsite_copies.backup_id IS 'The backup; it may be gone here';

COMMENT ON COLUMN agent_backup.offsite_copies.destination IS 'The place: s3://bucket/prefix or file:///directory';

COMMENT ON COLUMN agent_backup.offsite_copies.status IS 'complete; missing: it is not there any more; failed: it could not be sent; retained: a lock of the store keeps what should go';

COMMENT ON COLUMN agent_backup.offsite_copies.uploaded_at IS 'When it was complete there, or was found to be; null for never';

COMMENT ON COLUMN agent_backup.offsite_copies.size_bytes IS 'Bytes of the container there';

COMMENT ON COLUMN agent_backup.offsite_copies.object_key IS 'Key of the container below the destination';

COMMENT ON COLUMN agent_backup.offsite_copies.verified_at IS 'When it was last looked at there; null for never';

COMMENT ON COLUMN agent_backup.offsite_copies.verification_status IS 'Verdict of that: success or failed';

COMMENT ON COLUMN agent_backup.offsite_copies.verification_level IS 'How much that proved: exists, size, checksum, sample or read';

COMMENT ON COLUMN agent_backup.offsite_copies.error_message IS 'What is wrong with it; null for nothing';

COMMENT ON COLUMN agent_backup.offsite_copies.started_at IS 'When the backup began';

COMMENT ON COLUMN agent_backup.offsite_copies.kind IS 'full, archive or safety';

SELECT pg_catalog.pg_extension_config_dump('agent_backup.offsite_destinations', '');

SELECT pg_catalog.pg_extension_config_dump('agent_backup.offsite_catalog', '');

SELECT pg_catalog.pg_extension_config_dump('agent_backup.offsite_imports', '');

CREATE OR REPLACE VIEW agent_backup.rpo_rto_report AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), members AS MATERIALIZED (
    SELECT t.set_name, pg_catalog.count(*) AS tables, pg_catalog.array_agg(t.display) AS names,
           pg_catalog.bool_and(t.backup_id IS NOT NULL) AS has_backup,
           pg_catalog.bool_and(t.captured_since IS NOT NULL) AS is_captured,
           CASE WHEN pg_catalog.bool_and(t.recoverable_at IS NOT NULL) THEN pg_catalog.max(GREATEST(t.now - t.recoverable_at, '0')) END AS live_loss,
           CASE WHEN pg_catalog.bool_and(t.saved_at IS NOT NULL) THEN pg_catalog.max(GREATEST(t.now - t.saved_at, '0')) END AS file_loss,
                      CASE WHEN pg_catalog.bool_and(t.captured_since IS NOT NULL) THEN GREATEST(pg_catalog.max(t.captured_since), pg_catalog.max(
               (SELECT pg_catalog.max(g.noted_at) FROM agent_backup.capture_gaps g JOIN agent_backup.tracked k USING (tracked_id)
                 WHERE k.relation = t.relation AND k.ended_at IS NULL))) END AS unbroken_since
      FROM agent_backup.recovery_state t
     WHERE t.relation IS NOT NULL
     GROUP BY t.set_name
), stretches AS (
    SELECT p.set_name, pg_catalog.max(p.at - p.before) AS of_files,
           COALESCE(pg_catalog.max(LEAST(p.at, m.unbroken_since) - p.before)
                    FILTER (WHERE m.unbroken_since IS NULL OR p.before < m.unbroken_since), CASE WHEN m.unbroken_since IS NOT NULL THEN interval '0' END) AS of_rows
      FROM (SELECT x.set_name, x.at, pg_catalog.lag(x.at) OVER (PARTITION BY x.set_name ORDER BY x.at) AS before
              FROM (SELECT * FROM agent_backup.set_points UNION ALL SELECT s.set_name, moment.now FROM agent_backup.sets s, moment) AS x) AS p
     CROSS JOIN moment
      LEFT JOIN members m USING (set_name)
     WHERE p.at > moment.now - interval '30 days' AND p.at <= moment.now
     GROUP BY p.set_name, m.unbroken_since
), drilled AS (
    SELECT DISTINCT ON (d.set_name) d.set_name, d.drill_id, d.started_at, d.duration, d.status,
           (SELECT pg_catalog.make_interval(secs => pg_catalog.max((x ->> 'seconds')::double precision))
              FROM pg_catalog.jsonb_array_elements(d.steps) AS x WHERE x ->> 'step' = 'restore') AS slowest
      FROM agent_backup.drills d
     WHERE d.status <> 'failed'
     ORDER BY d.set_name, d.started_at DESC
), restored AS (
    SELECT DISTINCT ON (m.set_name, v.scenario) m.set_name, v.scenario, r.restore_id, r.started_at, r.finished_at, r.finished_at - r.started_at AS took
      FROM agent_backup.restores r
      JOIN members m ON m.set_name = r.set_name OR (r.set_name IS NULL AND r.tables && m.names)
     CROSS JOIN LATERAL (
           SELECT CASE WHEN r.mode = 'record' THEN 1
                       WHEN r.mode IN ('replace', 'merge', 'missing_only', 'as_of') AND pg_catalog.cardinality(r.tables) = 1 AND m.tables > 1 THEN 2
                       WHEN r.mode = 'replace' AND pg_catalog.cardinality(r.tables) >= m.tables THEN 3 END AS scenario) AS v
     WHERE v.scenario IS NOT NULL
     ORDER BY m.set_name, v.scenario, r.finished_at DESC
), copied AS (
    SELECT k.set_name, pg_catalog.max(k.started_at) AS at, pg_catalog.max(k.started_at) FILTER (WHERE k.verification_status = 'success') AS verified
      FROM agent_backup.offsite_catalog k
     WHERE k.kind IN ('full', 'archive') AND k.status IN ('complete', 'retained') AND k.verification_status IS DISTINCT FROM 'failed'
     GROUP BY k.set_name
), measured AS (
    SELECT s.set_name, c.place, c.scenario, c.method, LEAST(c.rto, s.rto) AS rto_objective,
           CASE c.place WHEN 1 THEN interval '0' WHEN 4 THEN GREATEST(s.rpo, s.backup_interval) ELSE s.rpo END AS rpo_objective,
           CASE WHEN r.restore_id IS NOT NULL AND (r.finished_at > d.started_at OR d.drill_id IS NULL OR c.place < 3) THEN r.took
                WHEN c.place = 2 THEN d.slowest
                WHEN c.place >= 3 THEN d.duration END AS took,
           CASE WHEN r.restore_id IS NOT NULL AND (r.finished_at > d.started_at OR d.drill_id IS NULL OR c.place < 3)
                THEN pg_catalog.format('restore %s, %s', r.restore_id, (r.finished_at AT TIME ZONE 'UTC')::date)
                WHEN c.place = 2 AND d.slowest IS NOT NULL THEN pg_catalog.format('drill %s, %s, its slowest table', d.drill_id, (d.started_at AT TIME ZONE 'UTC')::date)
                WHEN c.place >= 3 AND d.drill_id IS NOT NULL THEN pg_catalog.format('drill %s, %s', d.drill_id, (d.started_at AT TIME ZONE 'UTC')::date) END AS took_by,
           CASE WHEN c.place < 3 THEN m.live_loss WHEN c.place = 3 THEN m.file_loss WHEN k.at IS NOT NULL THEN GREATEST(moment.now - k.at, '0') END AS loss,
           k.at AS copied_at, CASE WHEN k.verified IS NOT NULL THEN GREATEST(moment.now - k.verified, '0') END AS verified_loss,
           CASE WHEN c.place < 3 THEN w.of_rows WHEN c.place = 3 THEN w.of_files END AS worst,
           m.tables, m.has_backup, m.is_captured,
           (SELECT pg_catalog.max(x.started_at) FROM agent_backup.drills x WHERE x.set_name = s.set_name) AS last_drill_at,
           (SELECT pg_catalog.max(x.finished_at) FROM agent_backup.restores x WHERE x.set_name = s.set_name OR (x.set_name IS NULL AND x.tables && m.names)) AS last_restore_at
      FROM agent_backup.sets s
     CROSS JOIN (VALUES (1, 'single record deleted', 'restore_record, from captured changes or a backup', interval '5 minutes'),
                        (2, 'table corrupted', 'restore_table_as_of or restore_table', interval '30 minutes'),
                        (3, 'database failure', 'reconcile and restore, from the files here', interval '1 hour'),
                        (4, 'complete data loss', 'import_offsite and restore, from off-site copies', interval '2 hours')) AS c(place, scenario, method, rto)
      LEFT JOIN members m ON m.set_name = s.set_name
      LEFT JOIN stretches w ON w.set_name = s.set_name
      LEFT JOIN drilled d ON d.set_name = s.set_name AND (c.place < 4 OR EXISTS (SELECT FROM copied x WHERE x.set_name = s.set_name))
      LEFT JOIN copied k ON k.set_name = s.set_name
     CROSS JOIN moment
      LEFT JOIN restored r ON r.set_name = s.set_name AND r.scenario = LEAST(c.place, 3) AND (c.place < 4 OR k.at IS NOT NULL)
)
SELECT set_name, scenario, method AS recovery_method, rto_objective, pg_catalog.date_trunc('milliseconds', took) AS rto_measured, took_by AS rto_measured_by,
       rpo_objective, pg_catalog.date_trunc('second', loss) AS rpo_now, pg_catalog.date_trunc('second', worst) AS rpo_worst_30_days,
       last_drill_at, last_restore_at, v.met,
       CASE WHEN tables IS NULL THEN 'none of its tables is in this database'
            WHEN NOT has_backup THEN 'a table has no good backup'
            WHEN place = 4 AND copied_at IS NULL THEN 'no copy is off-site: all would be lost'
            WHEN place = 4 AND verified_loss IS NULL THEN 'no off-site copy was verified'
            ELSE pg_catalog.concat_ws('; ',
                CASE WHEN loss > rpo_objective * 1.1
                     THEN CASE place WHEN 1 THEN pg_catalog.format('changes of the last %s would be lost: not every table is tracked', agent_backup.in_words(loss))
                                     ELSE pg_catalog.format('changes of the last %s would be lost', agent_backup.in_words(loss)) END END,
                CASE WHEN took > rto_objective THEN pg_catalog.format('the last one took %s', agent_backup.in_words(took))
                     WHEN took IS NULL THEN 'no restore was timed yet' END,
                CASE WHEN v.met THEN 'within both objectives' END,
                CASE WHEN v.met AND worst > rpo_objective * 1.1 THEN pg_catalog.format('in 30 days it was up to %s', agent_backup.in_words(worst)) END) END AS reason
  FROM measured
 CROSS JOIN LATERAL (
       SELECT CASE WHEN tables IS NULL OR NOT has_backup OR (place = 4 AND verified_loss IS NULL) THEN false
                   WHEN place = 4 THEN took <= rto_objective AND verified_loss <= rpo_objective * 1.1
                   ELSE took <= rto_objective AND COALESCE(loss <= rpo_objective * 1.1, false) END AS met) AS v
 ORDER BY set_name, place;

COMMENT ON COLUMN agent_backup.rpo_rto_report.rpo_objective IS 'How much work may be lost: nothing of a single record, the RPO of the set, and of complete loss no less than the time between two backups';

CREATE OR REPLACE FUNCTION agent_backup.recent_verifications(since date)
RETURNS TABLE (backup_date date, table_name text, verification_status text, row_count bigint, size_bytes bigint, backup_id text, verified_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $fn$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT l.backup_date, l.table_name::text, l.verification_status::text, l.row_count::bigint, l.size_bytes, l.backup_id, l.verified_at::timestamptz
          FROM @extschema@.backup_verification_log l
         WHERE (l.backup_date > since OR l.verified_at > since) AND l.details ->> 'destination' IS NULL;
END
$fn$;

CREATE OR REPLACE VIEW agent_backup.checklist AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
)
SELECT s.set_name, v.item, v.status, v.evidence, v.checked_at
  FROM agent_backup.sets s
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT c.*, (SELECT pg_catalog.count(DISTINCT (e.schema_name, e.table_name)) FROM agent_backup.backup_entry e
                     WHERE e.backup_id = c.backup_id AND e.stored_bytes > 0) AS filled
         FROM agent_backup.backup_catalog c
        WHERE c.set_name = s.set_name AND c.kind IN ('full', 'archive') ORDER BY c.started_at DESC LIMIT 1) AS b ON true
  LEFT JOIN LATERAL (
       SELECT r.status, r.started_at, r.error_message FROM agent_backup.job_runs r
        WHERE r.set_name = s.set_name AND r.job = 'daily' AND r.status <> 'running' ORDER BY r.started_at DESC LIMIT 1) AS j ON true
  LEFT JOIN LATERAL (
       SELECT c.* FROM agent_backup.backup_catalog c
        WHERE c.set_name = s.set_name AND c.kind IN ('full', 'archive') AND c.verified_at IS NOT NULL
        ORDER BY c.started_at DESC LIMIT 1) AS k ON true
  LEFT JOIN LATERAL (
       SELECT d.* FROM agent_backup.drills d WHERE d.set_name = s.set_name ORDER BY d.started_at DESC LIMIT 1) AS d ON true
  LEFT JOIN LATERAL (
       SELECT k.*, k.verification_status = 'success' AND k.status IN ('complete', 'retained') AS is_good FROM agent_backup.offsite_catalog k
        WHERE k.set_name = s.set_name AND k.kind IN ('full', 'archive') AND k.verified_at IS NOT NULL
        ORDER BY k.started_at DESC, k.verification_status DESC LIMIT 1) AS o ON true
 CROSS JOIN LATERAL (
       SELECT pg_catalog.count(*) FILTER (WHERE x ->> 'step' = 'restore' AND x ->> 'status' = 'ok') AS restored,
              pg_catalog.count(*) FILTER (WHERE x ->> 'step' IN ('restore', 'create') AND x ->> 'status' <> 'ok') AS not_restored,
              pg_catalog.max(x ->> 'details') FILTER (WHERE x ->> 'step' = 'policies') AS policies,
              pg_catalog.min(x ->> 'status') FILTER (WHERE x ->> 'step' = 'policies') AS policies_status,
              pg_catalog.count(*) FILTER (WHERE x ->> 'step' = 'query') AS queries,
              pg_catalog.count(*) FILTER (WHERE x ->> 'step' = 'query' AND x ->> 'status' <> 'ok') AS failed_queries,
              pg_catalog.max(x ->> 'object') FILTER (WHERE x ->> 'step' = 'query' AND x ->> 'status' <> 'ok') AS failed_query,
              pg_catalog.max(x ->> 'details') FILTER (WHERE x ->> 'step' = 'quality checks') AS checks,
              pg_catalog.min(x ->> 'status') FILTER (WHERE x ->> 'step' = 'quality checks') AS checks_status
         FROM pg_catalog.jsonb_array_elements(COALESCE(d.steps, '[]')) AS x) AS t
 CROSS JOIN LATERAL (VALUES
    (1, 'Daily backup runs successfully',
     CASE WHEN b.backup_id IS NULL THEN CASE j.status WHEN 'failed' THEN 'no' ELSE 'not yet' END
          WHEN b.status = 'complete' AND moment.now - b.started_at <= s.backup_interval * 1.1 AND COALESCE(j.status = 'success' OR j.started_at < b.started_at, true)
          THEN 'yes' ELSE 'no' END,
     CASE WHEN j.status = 'failed' AND (b.backup_id IS NULL OR j.started_at >= b.started_at) THEN 'the last job failed: ' || j.error_message
          WHEN b.backup_id IS NULL THEN 'there is no backup'
          ELSE pg_catalog.format('the last one is %s, %s old', b.status, agent_backup.in_words(moment.now - b.started_at)) END,
     GREATEST(b.started_at, j.started_at)),
    (2, 'Backup files are created and non-zero',
     CASE WHEN b.backup_id IS NULL THEN 'not yet' WHEN b.size_bytes > 0 AND b.filled = b.tables AND b.status = 'complete' THEN 'yes' ELSE 'no' END,
     CASE WHEN b.backup_id IS NULL THEN 'there is no backup'
          ELSE pg_catalog.format('%s in 2 files, %s of %s tables with content%s', pg_catalog.pg_size_pretty(b.size_bytes), b.filled, b.tables,
                                 '; ' || b.error_message) END,
     b.finished_at),
    (3, 'Verification script passes',
     CASE k.verification_status WHEN 'success' THEN 'yes' WHEN 'warning' THEN 'yes' WHEN 'failed' THEN 'no' ELSE 'not yet' END,
     CASE WHEN k.backup_id IS NULL THEN 'no backup was verified'
          ELSE pg_catalog.format('%s: %s at level %s%s', k.backup_id, k.verification_status, k.verification_level,
                                 CASE WHEN k.backup_id <> b.backup_id THEN '; a newer one was not verified' END) END,
     k.verified_at),
    (4, 'Recovery drill completes in < 30 minutes',
     CASE WHEN d.drill_id IS NULL THEN 'not yet' WHEN d.status <> 'failed' AND d.duration < interval '30 minutes' THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill'
          WHEN d.status = 'failed' THEN pg_catalog.format('drill %s failed: %s', d.drill_id, d.error_message)
          ELSE pg_catalog.format('drill %s took %s', d.drill_id, agent_backup.in_words(d.duration)) END,
     d.finished_at),
    (5, 'Row counts match after restore',
     CASE WHEN d.drill_id IS NULL THEN 'not yet' WHEN d.status <> 'failed' AND t.restored > 0 AND t.not_restored = 0 THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill'
          WHEN d.status = 'failed' THEN pg_catalog.format('drill %s failed after %s tables', d.drill_id, t.restored)
          ELSE pg_catalog.format('%s tables with %s rows equal the backup%s', t.restored, d.row_count,
                                 CASE WHEN t.not_restored > 0 THEN pg_catalog.format(', %s could not be compared', t.not_restored) END) END,
     d.finished_at),
    (6, 'RLS policies preserved after restore',
     CASE WHEN t.policies IS NULL THEN CASE WHEN d.status = 'failed' THEN 'no' ELSE 'not yet' END WHEN t.policies_status = 'ok' THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill' WHEN t.policies IS NULL THEN pg_catalog.format('drill %s ended before', d.drill_id)
          ELSE pg_catalog.format('policies in the drill: %s', t.policies) END,
     d.finished_at),
    (7, 'Application can query restored data',
     CASE WHEN t.queries = 0 THEN CASE WHEN d.status = 'failed' THEN 'no' ELSE 'not yet' END WHEN t.failed_queries = 0 THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill'
          WHEN d.status = 'failed' THEN pg_catalog.format('drill %s ended before', d.drill_id)
          WHEN t.queries = 0 THEN 'no query of the application is in agent_backup.drill_queries'
          WHEN t.failed_queries > 0 THEN pg_catalog.format('%s of %s queries fail, such as %s', t.failed_queries, t.queries, t.failed_query)
          ELSE pg_catalog.format('%s queries ran', t.queries) END,
     d.finished_at),
    (8, 'Quality checks pass after restore',
     CASE WHEN t.checks IS NULL THEN CASE WHEN d.status = 'failed' THEN 'no' ELSE 'not yet' END WHEN t.checks_status = 'ok' THEN 'yes' ELSE 'no' END,
     CASE WHEN d.drill_id IS NULL THEN 'there was no drill'
          WHEN t.checks IS NULL AND d.status = 'failed' THEN pg_catalog.format('drill %s ended before', d.drill_id)
          ELSE COALESCE(t.checks, 'there is no function run_all_quality_checks()') END,
     d.finished_at),
    (9, 'A verified copy is off-site',
     CASE WHEN o.backup_id IS NULL THEN 'not yet' WHEN o.is_good AND moment.now - o.started_at <= s.backup_interval * 1.1 THEN 'yes' ELSE 'no' END,
     CASE WHEN o.backup_id IS NULL THEN 'no copy was verified'
          ELSE pg_catalog.format('%s in %s: %s at level %s, %s old', o.backup_id, o.destination, o.verification_status, o.verification_level,
                                 agent_backup.in_words(moment.now - o.started_at)) END,
     o.verified_at)) AS v(place, item, status, evidence, checked_at)
 ORDER BY s.set_name, v.place;

COMMENT ON VIEW agent_backup.checklist IS 'Nine things that must hold before backups can be relied on, each with its evidence';

CREATE OR REPLACE FUNCTION agent_backup.runbook(scenario text DEFAULT NULL, set_name text DEFAULT 'agent_sdk')
RETURNS TABLE (incident text, step integer, title text, command text, note text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' AS $fn$
#variable_conflict use_column
DECLARE
    wanted    text := runbook.scenario;
    of_set    text := runbook.set_name;
    titles    text[] := '{Assess damage,Identify recovery point,Restore data,Verify recovery,Resume operations}';
    writes    text := 'CHANGES DATA; what was there is saved first, and undo_restore() brings it back';
    newest    text;
    directory text;
BEGIN
    IF wanted <> ALL ('{record,table,database,disaster}') THEN
        RAISE EXCEPTION 'invalid scenario: it is "%", not record, table, database or disaster', wanted USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF of_set IS NULL OR NOT EXISTS (SELECT FROM agent_backup.sets s WHERE s.set_name = of_set) THEN
        RAISE EXCEPTION 'backup set "%" does not exist', of_set USING ERRCODE = 'undefined_object', HINT = 'SELECT set_name FROM agent_backup.sets;';
    END IF;
    newest := (SELECT b.backup_id FROM agent_backup.good_backups b WHERE b.set_name = of_set ORDER BY b.started_at DESC LIMIT 1);
    directory := COALESCE(NULLIF(current_setting('agent_backup.directory', true), ''), 'agent_backup in the data directory');
    RETURN QUERY
    WITH scene AS (
        SELECT s.name, s.place FROM unnest('{record,table,database,disaster}'::text[]) WITH ORDINALITY AS s(name, place)
         WHERE s.name = wanted OR wanted IS NULL
    ), member AS (
        SELECT t.*, EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.relation AND i.indisprimary) AS has_key,
               EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = t.relation AND k.contype = 'f') AS has_references
          FROM agent_backup.recovery_state t
         WHERE t.set_name = of_set AND t.relation IS NOT NULL
    ), place AS (
        SELECT d.url, COALESCE(d.server_name, NULLIF(current_setting('agent_backup.offsite_server', true), '')) AS server_name
          FROM agent_backup.offsite_destinations d WHERE d.set_name = of_set
        UNION ALL
        SELECT u.url, NULLIF(current_setting('agent_backup.offsite_server', true), '')
          FROM (SELECT NULLIF(current_setting('agent_backup.offsite_url', true), '') AS url) AS u
         WHERE u.url IS NOT NULL AND NOT EXISTS (SELECT FROM agent_backup.offsite_destinations d WHERE d.set_name = of_set)
    ), lines(scenarios, step, place, command, note) AS (
        -- 1. Assess damage
        SELECT '{table,database,disaster}'::text[], 1, 1::bigint, format('SELECT * FROM agent_backup.assess(%L);', of_set), 'ok, changed, or lost rows: against the newest good backup'
        UNION ALL
        SELECT '{record}', 1, m.ordinal, format('SELECT change, key, backup_row FROM agent_backup.diff(%L, %L, %L) WHERE change = ''missing'';', m.display, m.backup_id, of_set),
               'records of ' || m.display || ' that the backup has and the table has not'
          FROM member m WHERE m.has_key AND m.backup_id IS NOT NULL
        UNION ALL
        SELECT '{table,database,disaster}', 1, 3, format('SELECT * FROM %I.%I;', n.nspname, c.relname), 'row counts of the application beside those it logged last'
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = 'v_data_quality_current' AND c.relkind IN ('v', 'm') AND n.nspname IN (SELECT m.schema_name FROM member m)
        UNION ALL
        SELECT '{database,disaster}', 1, 4, 'SELECT * FROM agent_backup.health WHERE severity <> ''OK'';', 'what is known to be wrong'
        -- 2. Identify recovery point
        UNION ALL
        SELECT '{database,disaster}', 2, 0, 'CREATE EXTENSION IF NOT EXISTS agent_backup;', 'on a new server: install it first, and give it the same agent_backup.directory'
        UNION ALL
        SELECT '{database,disaster}', 2, 1, format('SELECT * FROM agent_backup.reconcile(%L);', of_set),
               'lists the backups whose files are in ' || directory || CASE s.name WHEN 'disaster' THEN '; copy them there first from where your copies are' ELSE '' END
          FROM scene s WHERE s.name = 'database' OR (s.name = 'disaster' AND NOT EXISTS (SELECT FROM place))
        UNION ALL
        SELECT '{disaster}', 2, 1, format('SELECT * FROM agent_backup.import_offsite(%L%s);', p.url, ', server_name => ' || quote_literal(p.server_name)),
               'lists the backups in the store, of all servers, and restores read straight from there'
               || CASE WHEN p.server_name IS NOT NULL THEN format('; on a new server first: CREATE SERVER %I FOREIGN DATA WRAPPER agent_backup_s3, and a user mapping with its keys', p.server_name) ELSE '' END
          FROM place p
        UNION ALL
        SELECT '{record,table,database,disaster}', 2, 2,
               format('SELECT backup_id, status, started_at, tables, row_count, verification_status FROM agent_backup.backups WHERE set_name = %L ORDER BY started_at DESC LIMIT 10;', of_set),
               'the backups; take another id in the commands below where the newest is too young'
        UNION ALL
        SELECT '{table,database,disaster}', 2, 3, format('SELECT schema_name, table_name, format, row_count FROM agent_backup.backup_files WHERE backup_id = %L;', newest), 'what is in it'
         WHERE newest IS NOT NULL
        UNION ALL
        SELECT '{record,table}', 2, 4 + m.ordinal, format('SELECT * FROM agent_backup.recovery_points(%L);', m.display), 'the moments that ' || m.display || ' can be brought back to'
          FROM member m WHERE m.captured_since IS NOT NULL
        UNION ALL
        SELECT '{table,database,disaster}', 2, 1000, format('SELECT * FROM agent_backup.verify(%L, ''decode'', %L);', newest, of_set), 'whether it is whole'
         WHERE newest IS NOT NULL
        -- 3. Restore data
        UNION ALL
        SELECT '{record}', 3, m.ordinal, format('SELECT r.* FROM agent_backup.diff(%L, %L, %L) AS d, agent_backup.restore_record(%L, d.key, with_parents => true, set_name => %L) AS r WHERE d.change = ''missing'';',
                                        m.display, m.backup_id, of_set, m.display, of_set),
               'CHANGES DATA: puts every missing record back, with those it refers to; for one, add AND d.key = ''{"column": value}'''
          FROM member m WHERE m.has_key AND m.backup_id IS NOT NULL
        UNION ALL
        SELECT '{table}', 3, 0, format('SELECT * FROM agent_backup.restore_plan(%L, set_name => %L);', newest, of_set), 'the plan; changes nothing'
         WHERE newest IS NOT NULL
        UNION ALL
        SELECT '{table}', 3, m.ordinal, format('SELECT * FROM agent_backup.restore_table(%L, %L, set_name => %L, confirm => true);', m.display, m.backup_id, of_set),
               writes || CASE WHEN m.has_references THEN '; where it refers to rows that are gone too, restore(..., tables => ...) takes both' ELSE '' END
          FROM member m WHERE m.backup_id IS NOT NULL
        UNION ALL
        SELECT '{table}', 3, m.ordinal, format('SELECT * FROM agent_backup.restore_table_as_of(%L, %L, confirm => true);', m.display,
                                       date_trunc('second', GREATEST(m.now - interval '5 minutes', m.captured_since) + interval '1 second')),
               'CHANGES DATA; or so, to a moment before the damage: put it in'
          FROM member m WHERE m.captured_since IS NOT NULL
        UNION ALL
        SELECT '{database,disaster}', 3, 1, format('SELECT * FROM agent_backup.restore(%L, create_missing => true, set_name => %L);', newest, of_set), 'the plan; changes nothing'
         WHERE newest IS NOT NULL
        UNION ALL
        SELECT '{database,disaster}', 3, 2, format('SELECT * FROM agent_backup.restore(%L, create_missing => true, set_name => %L, confirm => true);', newest, of_set), writes
         WHERE newest IS NOT NULL
        UNION ALL
        SELECT '{record,table,database,disaster}', 3, m.ordinal, NULL, 'there is no good backup of ' || m.display FROM member m WHERE m.backup_id IS NULL
        -- 4. Verify recovery
        UNION ALL
        SELECT '{record,table,database,disaster}', 4, 1, format('SELECT * FROM agent_backup.assess(%L);', of_set), 'every table should say ok, or changed where the application has worked since'
        UNION ALL
        SELECT '{record,table,database,disaster}', 4, 2, format('SELECT * FROM %I.%I();', n.nspname, p.proname), 'the application''s own checks'
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE p.proname = 'run_all_quality_checks' AND p.pronargs = 0 AND p.prokind = 'f' AND n.nspname IN (SELECT m.schema_name FROM member m)
        UNION ALL
        SELECT '{table,database,disaster}', 4, 3, 'SELECT table_name, row_count FROM @extschema@.backup_verification_log WHERE backup_date = (now() AT TIME ZONE ''UTC'')::date;',
               'rows that verification found in today''s backups'
        -- 5. Resume operations
        UNION ALL
        SELECT '{table,database,disaster}', 5, 1,
               format('SELECT m.schema_name, m.table_name, c.relrowsecurity AS enabled, (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies '
                      'FROM agent_backup.set_tables m JOIN pg_namespace n ON n.nspname = m.schema_name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = m.table_name '
                      'WHERE m.set_name = %L AND (NOT c.relrowsecurity OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid));', of_set),
               'tables whose row-level security is off or has no policy: there should be none that had it'
        UNION ALL
        SELECT '{record,table,database,disaster}', 5, 2 + v.place,
               format('REFRESH MATERIALIZED VIEW %s%I.%I;', CASE WHEN v.can_wait THEN 'CONCURRENTLY ' ELSE '' END, v.nspname, v.relname),
               CASE WHEN v.can_wait THEN 'readers can go on meanwhile' ELSE 'readers wait meanwhile: it has no unique index for more, or is empty' END
          FROM (WITH RECURSIVE above(oid, depth) AS (
                    SELECT m.relation, 0 FROM member m
                    UNION
                    SELECT r.ev_class, a.depth + 1 FROM above a
                      JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.oid AND d.classid = 'pg_rewrite'::regclass
                      JOIN pg_rewrite r ON r.oid = d.objid
                     WHERE r.ev_class <> a.oid)
                SELECT n.nspname, c.relname, row_number() OVER (ORDER BY max(a.depth), c.relname) AS place,
                       c.relispopulated AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                                                       AND i.indpred IS NULL AND i.indexprs IS NULL) AS can_wait
                  FROM above a JOIN pg_class c ON c.oid = a.oid AND c.relkind = 'm' JOIN pg_namespace n ON n.oid = c.relnamespace
                 GROUP BY c.oid, n.nspname, c.relname, c.relispopulated) AS v
        UNION ALL
        SELECT '{record,table,database,disaster}', 5, 1000, format('SELECT * FROM agent_backup.backup(%L);', of_set), 'a backup of what is there now'
    )
    SELECT s.name, l.step, titles[l.step], l.command, l.note
      FROM scene s JOIN lines l ON s.name = ANY (l.scenarios)
     ORDER BY s.place, l.step, l.place, l.command;
END
$fn$;

CREATE OR REPLACE VIEW agent_backup.health_offsite AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), places AS (
    SELECT d.set_name, d.url FROM agent_backup.offsite_destinations d
    UNION ALL
    SELECT s.set_name, pg_catalog.rtrim(u.url, '/')
      FROM agent_backup.sets s
     CROSS JOIN (SELECT NULLIF(pg_catalog.current_setting('agent_backup.offsite_url', true), '') AS url) AS u
     WHERE u.url IS NOT NULL AND NOT EXISTS (SELECT FROM agent_backup.offsite_destinations d WHERE d.set_name = s.set_name)
), state AS (
    SELECT p.set_name, p.url, newest.backup_id, newest.started_at, newest.verified_at, newest.verification_level, tried.started_at AS tried_at, tried.error_message,
           c.copies, c.retained, c.bad, c.bad_since, c.worst
      FROM places p
      LEFT JOIN LATERAL (
           SELECT k.* FROM agent_backup.offsite_catalog k
            WHERE k.destination = p.url AND k.set_name = p.set_name AND k.kind IN ('full', 'archive') AND k.status IN ('complete', 'retained')
              AND k.verification_status IS DISTINCT FROM 'failed'
            ORDER BY k.started_at DESC LIMIT 1) AS newest ON true
      LEFT JOIN LATERAL (
           SELECT k.started_at, k.error_message FROM agent_backup.offsite_catalog k
            WHERE k.destination = p.url AND k.set_name = p.set_name AND k.status = 'failed' AND (newest.started_at IS NULL OR k.started_at > newest.started_at)
            ORDER BY k.started_at DESC LIMIT 1) AS tried ON true
     CROSS JOIN LATERAL (
           SELECT pg_catalog.count(*) FILTER (WHERE k.status <> 'failed') AS copies, pg_catalog.count(*) FILTER (WHERE k.status = 'retained') AS retained,
                  pg_catalog.count(*) FILTER (WHERE k.status = 'missing' OR k.verification_status = 'failed') AS bad,
                  pg_catalog.min(k.verified_at) FILTER (WHERE k.status = 'missing' OR k.verification_status = 'failed') AS bad_since,
                  pg_catalog.max(k.backup_id || ': ' || k.error_message) FILTER (WHERE k.status = 'missing' OR k.verification_status = 'failed') AS worst
             FROM agent_backup.offsite_catalog k WHERE k.destination = p.url AND k.set_name = p.set_name) AS c
)
SELECT s.set_name || ': off-site copies' AS subject, 'WARNING' AS severity, s.created_at AS since,
       'all copies are on this machine' AS reason,
       pg_catalog.format('SELECT agent_backup.add_destination(%L, %L);', s.set_name, 's3://bucket/prefix') AS action
  FROM agent_backup.sets s
 WHERE NOT EXISTS (SELECT FROM places p WHERE p.set_name = s.set_name)
UNION ALL
SELECT pg_catalog.format('%s: off-site copies in %s', t.set_name, t.url), v.severity, v.since, v.reason, CASE WHEN v.severity <> 'OK' THEN v.action END
  FROM state t
  JOIN agent_backup.sets s USING (set_name)
 CROSS JOIN moment
  LEFT JOIN LATERAL (
       SELECT pg_catalog.min(g.started_at) AS since FROM agent_backup.good_backups g WHERE g.set_name = t.set_name) AS good ON true
 CROSS JOIN LATERAL (
    SELECT CASE WHEN t.bad > 0 THEN 'FAILED'
                WHEN t.backup_id IS NULL THEN CASE WHEN moment.now - good.since > s.backup_interval * 1.1 THEN 'FAILED' ELSE 'WARNING' END
                WHEN moment.now - t.started_at > s.backup_interval * 2 THEN 'FAILED'
                WHEN moment.now - t.started_at > s.backup_interval * 1.1 OR t.tried_at IS NOT NULL THEN 'WARNING'
                WHEN t.verified_at IS NULL AND moment.now - t.started_at > s.backup_interval THEN 'WARNING'
                ELSE 'OK' END AS severity,
           CASE WHEN t.bad > 0 THEN t.bad_since WHEN t.backup_id IS NULL THEN COALESCE(good.since, s.created_at) ELSE COALESCE(t.tried_at, t.started_at) END AS since,
           CASE WHEN t.bad > 0 THEN pg_catalog.format('%s of %s copies are missing or damaged, such as %s', t.bad, t.copies, t.worst)
                WHEN t.backup_id IS NULL THEN 'no backup was copied there yet' || COALESCE('; the last try failed: ' || t.error_message, '')
                ELSE pg_catalog.concat_ws('; ',
                     pg_catalog.format('the newest copy is %s old', agent_backup.in_words(moment.now - t.started_at)),
                     CASE WHEN t.verified_at IS NULL THEN 'it was not verified yet'
                          ELSE pg_catalog.format('it passed at level %s, %s ago', t.verification_level, agent_backup.in_words(moment.now - t.verified_at)) END,
                     'a newer one could not be sent: ' || t.error_message,
                     CASE WHEN t.retained > 0 THEN pg_catalog.format('%s of %s copies are retained by the store', t.retained, t.copies) END) END AS reason,
           CASE WHEN t.bad > 0 OR (t.verified_at IS NULL AND t.backup_id IS NOT NULL AND t.tried_at IS NULL AND moment.now - t.started_at <= s.backup_interval * 1.1)
                THEN pg_catalog.format('SELECT * FROM agent_backup.verify_offsite(%L, %L);', t.set_name, t.url)
                ELSE pg_catalog.format('SELECT * FROM agent_backup.upload(%L, %L);', t.set_name, t.url) END AS action) AS v;

CREATE OR REPLACE VIEW agent_backup.health AS
SELECT h.subject, h.severity, h.since, h.reason, h.action
  FROM (SELECT 1 AS place, v.* FROM agent_backup.health_tables v
        UNION ALL SELECT 2, v.* FROM agent_backup.health_sets v
        UNION ALL SELECT 2, v.* FROM agent_backup.health_encryption v
        UNION ALL SELECT 3, v.* FROM agent_backup.health_jobs v
        UNION ALL SELECT 4, v.* FROM agent_backup.health_offsite v
        UNION ALL SELECT 5, v.* FROM agent_backup.health_capture v
        UNION ALL SELECT 6, v.* FROM agent_backup.health_disk v
        UNION ALL SELECT 7, v.* FROM agent_backup.health_server v
        UNION ALL SELECT 7, v.* FROM agent_backup.health_audit v
        UNION ALL SELECT 8, 'backup sets', 'WARNING', NULL, 'there is none', 'SELECT agent_backup.create_set(''my_set'');'
                   WHERE NOT EXISTS (SELECT FROM agent_backup.sets)) AS h
 ORDER BY CASE h.severity WHEN 'FAILED' THEN 1 WHEN 'WARNING' THEN 2 ELSE 3 END, h.place, h.subject;

-- by hand: DO $do$ DECLARE part text; BEGIN FOREACH part IN ARRAY ARRAY['health', 'health_tables', 'health_sets', 'health_encryptio

CREATE OR REPLACE VIEW agent_backup.metric_samples AS
WITH moment AS MATERIALIZED (
    SELECT agent_backup.clock() AS now
), newest AS MATERIALIZED (
    SELECT s.set_name, b.*, v.verification_status AS verdict, v.verified_at AS verdict_at
      FROM agent_backup.sets s
      LEFT JOIN LATERAL (
           SELECT g.started_at, g.finished_at, g.row_count, g.size_bytes FROM agent_backup.good_backups g
            WHERE g.set_name = s.set_name ORDER BY g.started_at DESC LIMIT 1) AS b ON true
      LEFT JOIN LATERAL (
           SELECT c.verification_status, c.verified_at FROM agent_backup.backup_catalog c
            WHERE c.set_name = s.set_name AND c.kind IN ('full', 'archive') AND c.verified_at IS NOT NULL
            ORDER BY c.started_at DESC LIMIT 1) AS v ON true
), last_run AS (
    SELECT DISTINCT ON (r.set_name, r.job) r.set_name, r.job, r.started_at, r.finished_at FROM agent_backup.job_runs r
     WHERE r.finished_at IS NOT NULL ORDER BY r.set_name, r.job, r.started_at DESC
), last_drill AS (
    SELECT DISTINCT ON (d.set_name) d.set_name, d.status, d.started_at, d.duration FROM agent_backup.drills d ORDER BY d.set_name, d.started_at DESC
)
SELECT 'agent_backup_backups' AS family, pg_catalog.jsonb_build_object('set', c.set_name, 'kind', c.kind, 'status', c.status) AS labels,
       pg_catalog.count(*)::double precision AS value
  FROM agent_backup.backup_catalog c GROUP BY c.set_name, c.kind, c.status
UNION ALL
SELECT 'agent_backup_stored_bytes', pg_catalog.jsonb_build_object('set', c.set_name), pg_catalog.sum(c.size_bytes)::double precision
  FROM agent_backup.backup_catalog c GROUP BY c.set_name
UNION ALL
SELECT x.family, pg_catalog.jsonb_build_object('set', n.set_name), x.value
  FROM newest n
 CROSS JOIN moment
 CROSS JOIN LATERAL (VALUES
       ('agent_backup_last_good_age_seconds', CASE WHEN n.started_at IS NULL THEN 'Infinity' ELSE GREATEST(EXTRACT(epoch FROM moment.now - n.started_at), 0)::double precision END),
       ('agent_backup_last_good_size_bytes', n.size_bytes::double precision),
       ('agent_backup_last_good_rows', n.row_count::double precision),
       ('agent_backup_last_good_duration_seconds', EXTRACT(epoch FROM n.finished_at - n.started_at)::double precision),
       ('agent_backup_last_verification_passed', CASE n.verdict WHEN 'failed' THEN 0 ELSE 1 END),
       ('agent_backup_last_verification_age_seconds', CASE WHEN n.verdict_at IS NULL THEN 'Infinity' ELSE GREATEST(EXTRACT(epoch FROM moment.now - n.verdict_at), 0)::double precision END)) AS x(family, value)
 WHERE x.value IS NOT NULL AND (n.verdict IS NOT NULL OR x.family <> 'agent_backup_last_verification_passed')
UNION ALL
SELECT 'agent_backup_job_runs', pg_catalog.jsonb_build_object('set', r.set_name, 'job', r.job, 'status', r.status), pg_catalog.count(*)::double precision
  FROM agent_backup.job_runs r WHERE r.status <> 'running' GROUP BY r.set_name, r.job, r.status
UNION ALL
SELECT 'agent_backup_job_last_duration_seconds', pg_catalog.jsonb_build_object('set', r.set_name, 'job', r.job),
       EXTRACT(epoch FROM r.finished_at - r.started_at)::double precision
  FROM last_run r
UNION ALL
SELECT 'agent_backup_jobs_overdue', pg_catalog.jsonb_build_object('set', s.set_name),
       (SELECT pg_catalog.count(*) FROM agent_backup.late_jobs j WHERE j.set_name = s.set_name AND j.overdue)::double precision
  FROM agent_backup.sets s
UNION ALL
SELECT 'agent_backup_table_rpo_seconds', pg_catalog.jsonb_build_object('set', t.set_name, 'table', CASE t.schema_name WHEN 'public' THEN '' ELSE t.schema_name || '.' END || t.table_name),
       CASE WHEN t.recoverable_at IS NULL THEN 'Infinity' ELSE GREATEST(EXTRACT(epoch FROM t.now - t.recoverable_at), 0)::double precision END
  FROM agent_backup.recovery_state t WHERE t.relation IS NOT NULL
UNION ALL
SELECT x.family, pg_catalog.jsonb_build_object('set', d.set_name), x.value
  FROM last_drill d
 CROSS JOIN moment
 CROSS JOIN LATERAL (VALUES
       ('agent_backup_drill_passed', CASE d.status WHEN 'failed' THEN 0 ELSE 1 END),
       ('agent_backup_drill_duration_seconds', EXTRACT(epoch FROM d.duration)::double precision),
       ('agent_backup_drill_age_seconds', EXTRACT(epoch FROM GREATEST(moment.now - d.started_at, '0'))::double precision)) AS x(family, value)
UNION ALL
SELECT x.family, '{}', x.value
  FROM agent_backup.disk_state() AS d
 CROSS JOIN LATERAL (VALUES
       ('agent_backup_disk_free_bytes', d.free_bytes::double precision),
       ('agent_backup_disk_total_bytes', d.total_bytes::double precision),
       ('agent_backup_disk_used_bytes', d.used_by_backups_bytes::double precision)) AS x(family, value)
 WHERE x.value IS NOT NULL
UNION ALL
SELECT 'agent_backup_capture_gaps', pg_catalog.jsonb_build_object('table', CASE t.schema_name WHEN 'public' THEN '' ELSE t.schema_name || '.' END || t.table_name),
       (SELECT pg_catalog.count(*) FROM agent_backup.capture_gaps g WHERE g.tracked_id = t.tracked_id AND g.noted_at > moment.now - interval '30 days')::double precision
  FROM agent_backup.tracked t CROSS JOIN moment WHERE t.ended_at IS NULL
UNION ALL
SELECT 'agent_backup_log_rows', '{}', COALESCE(pg_catalog.sum(GREATEST(c.reltuples, 0)), 0)::double precision
  FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'agent_backup.change_log'::pg_catalog.regclass
UNION ALL
SELECT 'agent_backup_offsite_copies', pg_catalog.jsonb_build_object('set', k.set_name, 'destination', k.destination, 'status', k.status), pg_catalog.count(*)::double precision
  FROM agent_backup.offsite_catalog k GROUP BY k.set_name, k.destination, k.status
UNION ALL
SELECT 'agent_backup_offsite_age_seconds', pg_catalog.jsonb_build_object('set', k.set_name, 'destination', k.destination),
       CASE WHEN k.newest IS NULL THEN 'Infinity' ELSE GREATEST(EXTRACT(epoch FROM moment.now - k.newest), 0)::double precision END
  FROM (SELECT c.set_name, c.destination, pg_catalog.max(c.started_at)
               FILTER (WHERE c.status IN ('complete', 'retained') AND c.verification_status IS DISTINCT FROM 'failed') AS newest
          FROM agent_backup.offsite_catalog c GROUP BY c.set_name, c.destination) AS k
 CROSS JOIN moment
UNION ALL
SELECT 'agent_backup_audit_entries', '{}', c.last_entry::double precision FROM agent_backup.audit_chain c
UNION ALL
SELECT x.family, '{}', x.value
  FROM (SELECT k.* FROM agent_backup.audit_checks k ORDER BY k.check_id DESC LIMIT 1) AS c
 CROSS JOIN moment
 CROSS JOIN LATERAL (VALUES
       ('agent_backup_audit_verification_passed', CASE c.status WHEN 'failed' THEN 0 ELSE 1 END::double precision),
       ('agent_backup_audit_verification_age_seconds', EXTRACT(epoch FROM GREATEST(moment.now - c.checked_at, '0'))::double precision)) AS x(family, value)
UNION ALL
SELECT 'agent_backup_health', pg_catalog.jsonb_build_object('severity', s.severity), pg_catalog.count(h.severity)::double precision
  FROM (VALUES ('OK'), ('WARNING'), ('FAILED')) AS s(severity) LEFT JOIN agent_backup.health h ON h.severity = s.severity
 GROUP BY s.severity;

CREATE OR REPLACE FUNCTION agent_backup.metrics() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $fn$
    WITH family(place, name, type, help) AS (VALUES
        (1, 'agent_backup_backups', 'gauge', 'Backups in the catalogue'),
        (2, 'agent_backup_stored_bytes', 'gauge', 'Bytes of the backups on disk'),
        (3, 'agent_backup_last_good_age_seconds', 'gauge', 'Age of the newest good backup, infinite where there is none'),
        (4, 'agent_backup_last_good_size_bytes', 'gauge', 'Size of the newest good backup'),
        (5, 'agent_backup_last_good_rows', 'gauge', 'Rows in the newest good backup'),
        (6, 'agent_backup_last_good_duration_seconds', 'gauge', 'Time that the newest good backup took'),
        (7, 'agent_backup_last_verification_passed', 'gauge', 'Whether the newest backup that was verified is whole: 1 or 0'),
        (8, 'agent_backup_last_verification_age_seconds', 'gauge', 'Time since that verification, infinite where there was none'),
        (9, 'agent_backup_job_runs', 'counter', 'Runs of jobs that ended'),
        (10, 'agent_backup_job_last_duration_seconds', 'gauge', 'Time that the last run of a job took'),
        (11, 'agent_backup_jobs_overdue', 'gauge', 'Scheduled jobs that did not run when they should have'),
        (12, 'agent_backup_table_rpo_seconds', 'gauge', 'Time whose changes of a table would be lost now, infinite for all'),
        (13, 'agent_backup_drill_passed', 'gauge', 'Whether the last recovery drill restored the data: 1 or 0'),
        (14, 'agent_backup_drill_duration_seconds', 'gauge', 'Time that the last recovery drill took'),
        (15, 'agent_backup_drill_age_seconds', 'gauge', 'Time since the last recovery drill'),
        (16, 'agent_backup_disk_free_bytes', 'gauge', 'Free space on the disk of the backups'),
        (17, 'agent_backup_disk_total_bytes', 'gauge', 'Size of the disk of the backups'),
        (18, 'agent_backup_disk_used_bytes', 'gauge', 'Bytes of all files in the directory of the backups'),
        (19, 'agent_backup_capture_gaps', 'gauge', 'Gaps of the last 30 days in the captured changes of a table'),
        (20, 'agent_backup_log_rows', 'gauge', 'Captured changes in the log, as the server estimates'),
        (21, 'agent_backup_audit_entries', 'gauge', 'Entries of the log of acts'),
        (22, 'agent_backup_audit_verification_passed', 'gauge', 'Whether the log of acts was whole when it was last verified: 1 or 0'),
        (23, 'agent_backup_audit_verification_age_seconds', 'gauge', 'Time since that verification'),
        (24, 'agent_backup_health', 'gauge', 'Rows of the view health'),
        (25, 'agent_backup_offsite_copies', 'gauge', 'Copies of backups in other places'),
        (26, 'agent_backup_offsite_age_seconds', 'gauge', 'Age of the newest good copy in a place, infinite where there is none')
    ), line AS (
        SELECT f.place, f.name, f.type, f.help, s.labels,
               format('%s%s%s %s', f.name, CASE f.type WHEN 'counter' THEN '_total' ELSE '' END,
                      (SELECT '{' || string_agg(format('%s="%s"', l.key, replace(replace(replace(l.value, '\', '\\'), '"', '\"'), E'\n', '\n')), ',' ORDER BY l.key) || '}'
                         FROM jsonb_each_text(s.labels) AS l),
                      CASE s.value WHEN 'Infinity' THEN '+Inf' ELSE s.value::text END) AS text
          FROM family f JOIN agent_backup.metric_samples s ON s.family = f.name
    )
    SELECT string_agg(b.text, E'\n' ORDER BY b.place) || E'\n# EOF\n'
      FROM (SELECT l.place,
                   concat_ws(E'\n', format('# HELP %s %s', l.name, l.help), format('# TYPE %s %s', l.name, l.type),
                             format('# UNIT %s ', l.name) || substring(l.name FROM '_(seconds|bytes)$'),
                             string_agg(l.text, E'\n' ORDER BY l.labels)) AS text
              FROM line l GROUP BY l.place, l.name, l.type, l.help) AS b
$fn$;

CREATE OR REPLACE FUNCTION agent_backup."verify_audit_log"() RETURNS TABLE (
	"check_name" TEXT,
	"status" TEXT,
	"entry_id" bigint,
	"details" TEXT
)
STRICT
LANGUAGE c
AS 'MODULE_PATHNAME', 'verify_audit_log_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."evidence_report"(
	"from_time" timestamp with time zone DEFAULT now() - interval '30 days',
	"to_time" timestamp with time zone DEFAULT now()
) RETURNS TEXT
STABLE
LANGUAGE c
AS 'MODULE_PATHNAME', 'evidence_report_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."prune_offsite"(
	"set_name" TEXT DEFAULT 'agent_sdk',
	"destination" TEXT DEFAULT NULL,
	"confirm" bool DEFAULT false
) RETURNS TABLE (
	"destination" TEXT,
	"backup_id" TEXT,
	"object_key" TEXT,
	"started_at" timestamp with time zone,
	"size_bytes" bigint,
	"action" TEXT,
	"reasons" TEXT[]
)

LANGUAGE c
AS 'MODULE_PATHNAME', 'prune_offsite_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."reseal"(
	"backup" TEXT DEFAULT NULL,
	"set_name" TEXT DEFAULT 'agent_sdk',
	"confirm" bool DEFAULT false
) RETURNS TABLE (
	"backup_id" TEXT,
	"kind" TEXT,
	"backup_file" TEXT,
	"action" TEXT,
	"key_ids_before" TEXT[],
	"key_ids_after" TEXT[],
	"details" TEXT
)

LANGUAGE c
AS 'MODULE_PATHNAME', 'reseal_wrapper';

COMMENT ON FUNCTION agent_backup.add_table(text, text, text[], text, text[], jsonb, text[]) IS 'Adds a table to a backup set: formats, row filter, excluded and masked columns. Returns its qualified name';

COMMENT ON FUNCTION agent_backup.set_subject_columns IS 'Says what names a person in a table of a set: columns, or paths such as data->>''customer_email''. Returns its name';

COMMENT ON FUNCTION agent_backup.erase_subject IS 'Shows where a person is in backups, log and archive, and erases the person there with confirm => true';

COMMENT ON FUNCTION agent_backup.add_table(text, regclass, text[], text, text[], jsonb, text[]) IS 'As add_table with the table''s name, for a regclass';

COMMENT ON FUNCTION agent_backup.set_encryption IS 'Says for whom the backups of a set are encrypted from now on; null leaves it to agent_backup.recipients_file. Returns the ids of the keys';

COMMENT ON FUNCTION agent_backup.reseal IS 'Seals backups and incrementals of a set for the present recipients, also those that are plain; says which unless confirm => true';

COMMENT ON FUNCTION agent_backup.encryption_state IS 'Whether the keys of each encrypted set can be used';

COMMENT ON FUNCTION agent_backup.evidence_report IS 'The evidence of a period for an auditor, as one HTML page that needs nothing from outside';

COMMENT ON FUNCTION agent_backup.s3_validator IS 'Part of the foreign-data wrapper agent_backup_s3: checks the options of a server or a user mapping';

COMMENT ON FUNCTION agent_backup.add_destination IS 'Adds a place that copies of the backups of a set go to, with its own retention. Returns it as it is kept';

COMMENT ON FUNCTION agent_backup.remove_destination IS 'Takes a destination from a set; what is there stays there';

COMMENT ON FUNCTION agent_backup.import_offsite IS 'Lists the backups that stand in a store, of any cluster and database, so that they are restored straight from there';

COMMENT ON FUNCTION agent_backup.verify_offsite IS 'Proves that the copies of a set are there, whole and young enough, at a level: exists, size, checksum, sample or read';

COMMENT ON FUNCTION agent_backup.prune_offsite IS 'Removes the copies that the numbers of their destination do not keep; says which unless confirm => true';

COMMENT ON FUNCTION agent_backup.upload IS 'Sends to the destinations of a set what is not there yet: backups, incrementals, records of erasures. One row per object with what became of it';

COMMENT ON FUNCTION agent_backup.verify_audit_log IS 'Proves the log of acts: every entry as it was written, none missing, and the heads that backups and verifications noted in it. One row chain, ok when all is well, else a row for each finding';

COMMENT ON FUNCTION agent_backup.note_act IS 'Part of the log of acts: notes what a function of the extension that is written in SQL did; for the extension itself';

SELECT agent_backup.grant_access();

-- by hand, no longer so: CREATE TABLE agent_backup.sets ( set_name text PRIMARY KEY CHECK (set_name <> '' AND octet_length(set_name) <= 63), desc
-- by hand, no longer so: CREATE TABLE agent_backup.set_tables ( set_name text NOT NULL REFERENCES agent_backup.sets ON DELETE CASCADE ON UPDATE C
-- by hand, no longer so: CREATE FUNCTION agent_backup."add_table"( "set_name" TEXT, "table_name" TEXT, "formats" TEXT[] DEFAULT NULL, "row_filter
-- by hand, no longer so: CREATE TABLE agent_backup.backup_catalog ( backup_id text PRIMARY KEY CHECK (backup_id <> ''), set_name text NOT NULL, k
-- by hand, no longer so: CREATE VIEW agent_backup.backups AS SELECT backup_id, set_name, kind, status, started_at, finished_at, tables, row_count
-- by hand, no longer so: CREATE INDEX change_log_key ON agent_backup.change_log (tracked_id, row_key)
-- by hand, no longer so: CREATE INDEX change_log_time ON agent_backup.change_log USING brin (changed_at) WITH (pages_per_range = 32)
-- by hand, no longer so: CREATE FUNCTION agent_backup."create_set"( "set_name" TEXT, "description" TEXT DEFAULT NULL, "formats" TEXT[] DEFAULT '{
-- by hand, no longer so: CREATE FUNCTION agent_backup."backup"( "set_name" TEXT DEFAULT 'agent_sdk', "kind" TEXT DEFAULT 'full', "formats" TEXT[]
-- by hand, no longer so: CREATE FUNCTION agent_backup.maintain_log(keep interval DEFAULT '30 days', ahead integer DEFAULT 7) RETURNS TABLE (parti
-- by hand, no longer so: CREATE FUNCTION agent_backup.platform_report() RETURNS TABLE (topic text, value text, note text) LANGUAGE sql STABLE SET
-- by hand, no longer so: CREATE FUNCTION agent_backup.runbook(scenario text DEFAULT NULL, set_name text DEFAULT 'agent_sdk') RETURNS TABLE (incid
-- by hand, no longer so: CREATE VIEW agent_backup.rpo_rto_report AS WITH moment AS MATERIALIZED ( SELECT agent_backup.clock() AS now ), members A
-- by hand, no longer so: CREATE VIEW agent_backup.health_offsite AS SELECT s.set_name || ': off-site copies' AS subject, 'WARNING' AS severity, s
-- by hand, no longer so: CREATE FUNCTION agent_backup.recent_verifications(since date) RETURNS TABLE (backup_date date, table_name text, verifica
-- by hand, no longer so: CREATE VIEW agent_backup.checklist AS WITH moment AS MATERIALIZED ( SELECT agent_backup.clock() AS now ) SELECT s.set_na
-- by hand, no longer so: CREATE VIEW agent_backup.health AS SELECT h.subject, h.severity, h.since, h.reason, h.action FROM (SELECT 1 AS place, v.
-- by hand, no longer so: CREATE VIEW agent_backup.metric_samples AS WITH moment AS MATERIALIZED ( SELECT agent_backup.clock() AS now ), newest AS
-- by hand, no longer so: CREATE FUNCTION agent_backup.metrics() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET extra_
-- by hand, no longer so: CREATE FUNCTION agent_backup.add_table( set_name text, relation regclass, formats text[] DEFAULT NULL, row_filter text D

-- until here

DO $do$
DECLARE
    guarded text;
    part    text;
BEGIN
    FOREACH guarded IN ARRAY '{audit_log,audit_chain,audit_checks}'::text[] LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER guard_audit BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON agent_backup.%I
            FOR EACH STATEMENT EXECUTE FUNCTION agent_backup.guard_audit()', guarded);
        EXECUTE pg_catalog.format('ALTER TABLE agent_backup.%I ENABLE ALWAYS TRIGGER guard_audit', guarded);
        EXECUTE pg_catalog.format('COMMENT ON TRIGGER guard_audit ON agent_backup.%I IS %L', guarded, 'Refuses changes');
    END LOOP;
    FOREACH part IN ARRAY ARRAY['health_audit', 'health_encryption'] LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.subject IS %L', part, 'What is expected');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.severity IS %L', part, 'OK, WARNING or FAILED');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.since IS %L', part, 'Since when it is so; null where nothing tells');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.reason IS %L', part, 'Why, in words');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.action IS %L', part, 'What mends it, ready to paste where it is SQL; null where all is well');
    END LOOP;
END
$do$;

-- Made anew with another argument, so without the comment that they had.
COMMENT ON FUNCTION agent_backup.backup IS 'Backs up a set of tables into one file, all from one snapshot. One row per member with status ok, failed or absent';
COMMENT ON FUNCTION agent_backup.create_set IS 'Makes an empty backup set. Options: formats (csv, json, sql), compression (gzip, zstd) with level, numbers to keep, RTO and RPO';

-- Who may do what, of all that is there now.
SELECT agent_backup.grant_access();
