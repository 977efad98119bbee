-- The fixed schema of the extension, and the role that may use the backup directory.
-- Looked up first: CREATE ... IF NOT EXISTS would refuse a foreign object, and says less about why.
DO $do$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'agent_backup') THEN
        RAISE EXCEPTION 'schema "agent_backup" exists already'
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'Rename or drop it, then run CREATE EXTENSION agent_backup again.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'agent_backup_operator') THEN
        BEGIN
            CREATE ROLE agent_backup_operator NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of the cluster made it just now
        END;
    END IF;
END
$do$;

CREATE SCHEMA agent_backup;
COMMENT ON SCHEMA agent_backup IS 'Backups of chosen tables: sets, backups, their files and the functions that make them';
GRANT USAGE ON SCHEMA agent_backup TO PUBLIC;
