-- The objectives of recovery as they are held now, in seconds, of sets that have a table in this database.
SELECT r.set_name, r.scenario, EXTRACT(epoch FROM r.rto_objective)::double precision, EXTRACT(epoch FROM r.rto_measured)::double precision,
       r.rto_measured_by, EXTRACT(epoch FROM r.rpo_objective)::double precision, EXTRACT(epoch FROM r.rpo_now)::double precision, r.met, r.reason
  FROM agent_backup.rpo_rto_report r
 WHERE EXISTS (SELECT FROM agent_backup.recovery_state t WHERE t.set_name = r.set_name AND t.relation IS NOT NULL)
