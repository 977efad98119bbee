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

-- from here on

-- by hand: DO $do$ DECLARE role text; BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'agent_backup') THEN RAI

CREATE OR REPLACE FUNCTION agent_backup.access_rules() RETURNS TABLE (kind text, name text, roles text[])
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $fn$
    -- operator, restorer, auditor; the admin is a member of all three. Every overload of a name has the same rule.
    SELECT 'function', f, '{operator}'::text[] FROM unnest('{
        backup, backup_agent_table_to_json, export_table, incremental, backup_agent_incremental, reconcile,
        create_set, drop_set, add_table, remove_table, set_change_source,
        expire_incrementals, prune, pin, unpin, set_retention,
        schedule, unschedule, crontab, run_job, begin_job, do_job, end_job,
        track, untrack, maintain_log}'::text[]) AS f
    UNION ALL
    SELECT 'function', f, '{operator,restorer}' FROM unnest('{
        verify, verify_backup, verify_daily_backups, assess, diff, read_backup, drill, mark, drop_mark, recovery_points}'::text[]) AS f
    UNION ALL
    SELECT 'function', f, '{restorer}' FROM unnest('{
        restore_plan, restore, restore_table, restore_record, undo_restore,
        undo, restore_table_as_of, record_history, read_as_of}'::text[]) AS f
    UNION ALL
    SELECT 'function', f, '{operator,auditor}' FROM unnest('{verify_audit_log, retention_plan}'::text[]) AS f
    UNION ALL
    -- What views are made with, and what reads no more than they do.
    SELECT 'function', f, '{operator,restorer,auditor}' FROM unnest('{
        clock, in_words, next_due, last_due, lock_key, job_is_active, image_to_jsonb, recent_verifications, disk_space, disk_state, room_for,
        runbook, platform_report, metrics}'::text[]) AS f
    UNION ALL
    -- Triggers fire for whoever writes; nobody calls these.
    SELECT 'function', f, '{}' FROM unnest('{
        capture, change_archive, keep_archive_rows, give_way_to_restored_set, guard_audit, watch_tracked, watch_drop,
        note_act, access_rules, grant_access}'::text[]) AS f
    UNION ALL
    SELECT 'relation', r, '{operator,restorer,auditor}' FROM unnest('{
        sets, set_tables, backups, backup_files, running, good_backups, pruned_backups, backup_verification_log,
        restores, drills, drill_queries, marks, tracked, tracked_now, tracked_tables, capture_gaps, sealed_log, change_sources, watermarks,
        job_runs, incremental_runs, scheduled_jobs, schedules, late_jobs,
        recovery_state, set_points, rpo_rto_report, backup_status, checklist, metric_samples,
        health, health_tables, health_sets, health_jobs, health_capture, health_disk, health_server, health_offsite, health_audit,
        access_matrix}'::text[]) AS r
    UNION ALL
    SELECT 'relation', r, '{auditor}' FROM unnest('{audit_log, audit_chain, audit_checks, backup_catalog, backup_entry}'::text[]) AS r
    UNION ALL
    -- Rows of users are in these.
    SELECT 'relation', r, '{}' FROM unnest('{
        archive_rows, agent_training_archive, change_log, row_shapes, this_home}'::text[]) AS r
$fn$;

COMMENT ON FUNCTION agent_backup.access_rules() IS 'Which roles may call a function of the extension or read a table or view of it';

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

COMMENT ON FUNCTION agent_backup.grant_access() IS 'Makes the grants of access_rules(), and takes all others from its roles and PUBLIC; for the extension itself';

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

CREATE OR REPLACE FUNCTION agent_backup.watch_drop() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'agent_backup_watch_drop';

COMMENT ON FUNCTION agent_backup.watch_drop() IS 'Refuses DROP EXTENSION agent_backup without CASCADE while there are backups, sets, logs or archived rows';

CREATE EVENT TRIGGER agent_backup_watch_drop ON ddl_command_start WHEN TAG IN ('DROP EXTENSION')
    EXECUTE FUNCTION agent_backup.watch_drop();

ALTER EVENT TRIGGER agent_backup_watch_drop ENABLE ALWAYS;

COMMENT ON EVENT TRIGGER agent_backup_watch_drop IS 'Keeps backups, sets and logs from going with DROP EXTENSION unasked';

CREATE OR REPLACE FUNCTION agent_backup."note_act"(
	"action" TEXT,
	"changed" bigint,
	"code" TEXT
) RETURNS VOID

LANGUAGE c
AS 'MODULE_PATHNAME', 'note_act_wrapper';

CREATE OR REPLACE FUNCTION agent_backup."verify_audit_log"() RETURNS TABLE (
	"check_name" TEXT,
	"status" TEXT,
	"entry_id" bigint,
	"details" TEXT
)
STRICT
LANGUAGE c
AS 'MODULE_PATHNAME', 'verify_audit_log_wrapper';

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

CREATE OR REPLACE VIEW agent_backup.health AS
SELECT h.subject, h.severity, h.since, h.reason, h.action
  FROM (SELECT 1 AS place, v.* FROM agent_backup.health_tables v
        UNION ALL SELECT 2, v.* FROM agent_backup.health_sets v
        UNION ALL SELECT 3, v.* FROM agent_backup.health_jobs v
        UNION ALL SELECT 4, v.* FROM agent_backup.health_offsite v
        UNION ALL SELECT 5, v.* FROM agent_backup.health_capture v
        UNION ALL SELECT 6, v.* FROM agent_backup.health_disk v
        UNION ALL SELECT 7, v.* FROM agent_backup.health_server v
        UNION ALL SELECT 7, v.* FROM agent_backup.health_audit v
        UNION ALL SELECT 8, 'backup sets', 'WARNING', NULL, 'there is none', 'SELECT agent_backup.create_set(''my_set'');'
                   WHERE NOT EXISTS (SELECT FROM agent_backup.sets)) AS h
 ORDER BY CASE h.severity WHEN 'FAILED' THEN 1 WHEN 'WARNING' THEN 2 ELSE 3 END, h.place, h.subject;

-- by hand: DO $do$ DECLARE part text; BEGIN FOREACH part IN ARRAY ARRAY['health', 'health_tables', 'health_sets', 'health_offsite',

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
        (21, 'agent_backup_audit_entries', 'counter', 'Entries of the log of acts'),
        (22, 'agent_backup_audit_verification_passed', 'gauge', 'Whether the log of acts was whole when it was last verified: 1 or 0'),
        (23, 'agent_backup_audit_verification_age_seconds', 'gauge', 'Time since that verification'),
        (24, 'agent_backup_health', 'gauge', 'Rows of the view health')
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

COMMENT ON FUNCTION agent_backup.verify_audit_log IS 'Proves the log of acts: every entry as it was written, none missing, and the heads that backups and verifications noted in it. One row chain, ok when all is well, else a row for each finding';

COMMENT ON FUNCTION agent_backup.note_act IS 'Notes what a function of the extension that is written in SQL did; for the extension itself';

SELECT agent_backup.grant_access();

-- by hand, no longer so: CREATE FUNCTION agent_backup.maintain_log(keep interval DEFAULT '30 days', ahead integer DEFAULT 7) RETURNS TABLE (parti
-- by hand, no longer so: CREATE VIEW agent_backup.health AS SELECT h.subject, h.severity, h.since, h.reason, h.action FROM (SELECT 1 AS place, v.
-- by hand, no longer so: CREATE VIEW agent_backup.metric_samples AS WITH moment AS MATERIALIZED ( SELECT agent_backup.clock() AS now ), newest AS
-- by hand, no longer so: CREATE FUNCTION agent_backup.metrics() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET extra_

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
    FOREACH part IN ARRAY ARRAY['health_audit'] LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.subject IS %L', part, 'What is expected');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.severity IS %L', part, 'OK, WARNING or FAILED');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.since IS %L', part, 'Since when it is so; null where nothing tells');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.reason IS %L', part, 'Why, in words');
        EXECUTE pg_catalog.format('COMMENT ON COLUMN agent_backup.%I.action IS %L', part, 'What mends it, ready to paste where it is SQL; null where all is well');
    END LOOP;
END
$do$;

-- Who may do what, of all that is there now.
SELECT agent_backup.grant_access();
