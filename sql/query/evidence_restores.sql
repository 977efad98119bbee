-- The newest $3 restores that began from $1 to before $2, and how many there are.
SELECT r.restore_id, r.set_name, r.backup_id, r.mode, r.tables, r.row_count, r.started_at,
       EXTRACT(epoch FROM r.finished_at - r.started_at)::double precision, r.restored_by, r.safety_backup_id, r.undoes,
       pg_catalog.count(*) OVER ()
  FROM agent_backup.restores r
 WHERE r.started_at >= $1 AND r.started_at < $2
 ORDER BY r.started_at DESC, r.restore_id DESC
 LIMIT $3
