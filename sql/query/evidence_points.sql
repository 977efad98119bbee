-- Moments from $1 to before $2 that a set could be brought back to when they were the newest, and of each set the last one before.
SELECT p.set_name, pg_catalog.max(p.at) AS at FROM agent_backup.set_points p WHERE p.at < $1 GROUP BY p.set_name
UNION ALL
SELECT p.set_name, p.at FROM agent_backup.set_points p WHERE p.at >= $1 AND p.at < $2
 ORDER BY at, set_name
