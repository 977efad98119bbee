-- The backup sets and what they are asked for, for the evidence of a period. Durations are in seconds.
SELECT s.set_name, s.created_at,
       (SELECT pg_catalog.count(*) FROM agent_backup.set_tables m WHERE m.set_name = s.set_name),
       (SELECT pg_catalog.count(*) FROM agent_backup.recovery_state r WHERE r.set_name = s.set_name AND r.relation IS NOT NULL),
       (SELECT pg_catalog.count(*) FROM agent_backup.set_tables m WHERE m.set_name = s.set_name AND m.row_filter IS NOT NULL),
       (SELECT pg_catalog.count(*) FROM agent_backup.set_tables m
         WHERE m.set_name = s.set_name AND (m.masked_columns <> '{}' OR m.excluded_columns <> '{}')),
       EXTRACT(epoch FROM s.backup_interval)::double precision, EXTRACT(epoch FROM s.rto)::double precision,
       EXTRACT(epoch FROM s.rpo)::double precision,
       s.keep_daily, s.keep_weekly, s.keep_monthly, s.keep_last, s.keep_within, s.max_age
  FROM agent_backup.sets s
 ORDER BY s.set_name COLLATE "C"
