-- Who may do what: one list. grant_access(), which CREATE EXTENSION and ALTER EXTENSION UPDATE end with, makes the grants of
-- it; an object of the extension that the list does not name is an error then, and so is a name that is no object.
CREATE FUNCTION agent_backup.access_rules() RETURNS TABLE (kind text, name text, roles text[])
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

CREATE FUNCTION agent_backup.grant_access() RETURNS void
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

CREATE VIEW agent_backup.access_matrix AS
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
    -- What each of our roles has by its grants, by those of roles that it is a member of, and as anybody.
    SELECT o.oid, o.name, o.kind, r.rolname::text AS role_name, w.privilege
      FROM object o
     CROSS JOIN LATERAL pg_catalog.unnest(o.privileges) AS w(privilege)
     CROSS JOIN pg_catalog.pg_roles r
     WHERE r.rolname IN ('agent_backup_operator', 'agent_backup_restorer', 'agent_backup_auditor', 'agent_backup_admin')
       AND CASE WHEN w.privilege = 'EXECUTE' THEN pg_catalog.has_function_privilege(r.oid, o.oid, 'EXECUTE')
                ELSE pg_catalog.has_table_privilege(r.oid, o.oid, w.privilege) END
    UNION
    -- What anybody else was granted.
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
