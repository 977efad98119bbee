-- Every backup that began before $1, those that retention removed since too, oldest first.
SELECT h.backup_id, h.set_name, h.kind, h.status, h.started_at, h.finished_at, h.row_count, h.size_bytes, h.is_sealed, h.pinned, h.error_message,
       h.verified_at, h.verification_status, h.verification_level, h.pruned_at, h.pruned_by, h.reasons
  FROM (SELECT c.backup_id, c.set_name, c.kind, c.status, c.started_at, c.finished_at, c.row_count, c.size_bytes,
               COALESCE(c.file_name LIKE '%.age', false) AS is_sealed, c.pinned, c.error_message,
               c.verified_at, c.verification_status, c.verification_level, NULL::timestamptz AS pruned_at, NULL AS pruned_by, NULL::text[] AS reasons
          FROM agent_backup.backup_catalog c
        UNION ALL
        SELECT p.backup_id, p.set_name, p.kind, p.status, p.started_at, p.finished_at, p.row_count, p.size_bytes,
               COALESCE(p.backup_file LIKE '%.age', false), false, NULL,
               NULL, CASE WHEN p.status = 'complete' AND NOT p.was_good THEN 'failed' END, NULL, p.pruned_at, p.pruned_by, p.reasons
          FROM agent_backup.pruned_backups p
         WHERE NOT EXISTS (SELECT FROM agent_backup.backup_catalog c WHERE c.backup_id = p.backup_id)) AS h
 WHERE h.started_at < $1
 ORDER BY h.started_at, h.backup_id COLLATE "C"
