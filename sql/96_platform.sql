-- What the backups stand on: the server, what else protects it, and whose platform it runs on.
CREATE FUNCTION agent_backup.platform_report() RETURNS TABLE (topic text, value text, note text)
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
