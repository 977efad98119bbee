-- The newest $3 erasures from $1 to before $2, and how many there are. Nothing in them tells who was erased.
SELECT e.erasure_id, e.set_name, e.subject_columns, e.reason, e.requested_by, e.erased_at, e.status, e.rows_removed,
       e.files_rewritten::bigint, e.files_left::bigint, pg_catalog.count(*) OVER ()
  FROM agent_backup.erasure_log e
 WHERE e.erased_at >= $1 AND e.erased_at < $2
 ORDER BY e.erased_at DESC, e.erasure_id
 LIMIT $3
