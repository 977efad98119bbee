-- Health of the disk that backups are written to.

-- A reader without the right to look at it, or a disk that is gone, must not cost all of health.
CREATE FUNCTION agent_backup.disk_state()
RETURNS TABLE (directory text, free_bytes bigint, total_bytes bigint, used_by_backups_bytes bigint, same_disk_as_database boolean, failure text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
    RETURN QUERY SELECT d.directory, d.free_bytes, d.total_bytes, d.used_by_backups_bytes, d.same_disk_as_database, NULL FROM agent_backup.disk_space() AS d;
EXCEPTION WHEN OTHERS THEN
    RETURN QUERY SELECT NULL, NULL::bigint, NULL::bigint, NULL::bigint, NULL::boolean, SQLERRM;
END
$fn$;

CREATE VIEW agent_backup.health_disk AS
WITH disk AS MATERIALIZED (
    SELECT * FROM agent_backup.disk_state()
), needed AS (
    -- A fifth more than the newest good backup of each set takes.
    SELECT pg_catalog.sum(b.size_bytes) * 1.2 AS bytes, (pg_catalog.array_agg(s.set_name ORDER BY b.size_bytes DESC))[1] AS largest
      FROM agent_backup.sets s
     CROSS JOIN LATERAL (
           SELECT g.size_bytes FROM agent_backup.good_backups g WHERE g.set_name = s.set_name ORDER BY g.started_at DESC LIMIT 1) AS b
)
SELECT 'disk of the backups' AS subject,
       CASE WHEN d.failure IS NOT NULL THEN 'WARNING' WHEN d.free_bytes < n.bytes THEN 'FAILED' WHEN d.free_bytes < n.bytes * 3 THEN 'WARNING' ELSE 'OK' END AS severity,
       NULL::timestamptz AS since,
       CASE WHEN d.failure IS NOT NULL THEN 'it cannot be looked at: ' || d.failure
            WHEN n.bytes IS NULL THEN pg_catalog.format('%s of %s are free; there is no backup yet to judge by', pg_catalog.pg_size_pretty(d.free_bytes),
                                                        pg_catalog.pg_size_pretty(d.total_bytes))
            ELSE pg_catalog.format('%s of %s are free, one more backup takes %s', pg_catalog.pg_size_pretty(d.free_bytes), pg_catalog.pg_size_pretty(d.total_bytes),
                                   pg_catalog.pg_size_pretty(pg_catalog.ceil(n.bytes))) END AS reason,
       CASE WHEN d.failure IS NOT NULL THEN 'SELECT * FROM agent_backup.disk_space();'
            WHEN d.free_bytes < n.bytes * 3 THEN pg_catalog.format('SELECT * FROM agent_backup.prune(%L);', n.largest) END AS action
  FROM disk d CROSS JOIN needed n
UNION ALL
SELECT 'directory of the backups', CASE WHEN d.same_disk_as_database THEN 'WARNING' ELSE 'OK' END, NULL,
       CASE WHEN d.same_disk_as_database THEN 'it is on the disk of the database: both can be lost at once' ELSE 'it is on a disk of its own' END,
       CASE WHEN d.same_disk_as_database THEN 'ALTER SYSTEM SET agent_backup.directory = ''/another/disk''; SELECT pg_reload_conf();' END
  FROM disk d WHERE d.failure IS NULL;
COMMENT ON VIEW agent_backup.health_disk IS 'Part of health: room on the disk of the backups, and whose disk it is';
