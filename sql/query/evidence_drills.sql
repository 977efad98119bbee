-- Drills that began from $1 to before $2, newest first.
SELECT d.drill_id, d.set_name, d.backup_id, d.status, d.started_at, EXTRACT(epoch FROM d.duration)::double precision,
       EXTRACT(epoch FROM d.rto)::double precision, d.within_rto, d.row_count, d.drilled_by, d.error_message
  FROM agent_backup.drills d
 WHERE d.started_at >= $1 AND d.started_at < $2
 ORDER BY d.started_at DESC, d.drill_id DESC
