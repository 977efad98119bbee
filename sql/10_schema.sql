-- The fixed schema of the extension, and the roles that may use it; sql/99_access.sql says for what.
-- Looked up first: CREATE ... IF NOT EXISTS would refuse a foreign object, and says less about why.
DO $do$
DECLARE
    role text;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'agent_backup') THEN
        RAISE EXCEPTION 'schema "agent_backup" exists already'
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'Rename or drop it, then run CREATE EXTENSION agent_backup again.';
    END IF;
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

CREATE SCHEMA agent_backup;
COMMENT ON SCHEMA agent_backup IS 'Backups of chosen tables: sets, backups, their files and the functions that make them';
GRANT USAGE ON SCHEMA agent_backup TO PUBLIC;
