-- Copies off-site by set, place and status.
SELECT c.set_name, c.destination, c.status, pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE c.object_key LIKE '%.age'),
       COALESCE(pg_catalog.sum(c.size_bytes), 0)::bigint, pg_catalog.max(c.uploaded_at),
       pg_catalog.count(*) FILTER (WHERE c.verification_status IN ('success', 'warning')),
       pg_catalog.count(*) FILTER (WHERE c.verification_status = 'failed')
  FROM agent_backup.offsite_copies c
 GROUP BY c.set_name, c.destination, c.status
 ORDER BY c.set_name, c.destination, c.status
