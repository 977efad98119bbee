-- The triggers that would fire for rows of relation $1 and its partitions, but for those that check deferrable keys or capture changes:
-- statements that switch each off, and on again as it was. Keys that are checked at the end of the transaction are
-- checked with each statement meanwhile: their check runs code that may not wait for the end of a restricted operation.
WITH RECURSIVE tree(oid) AS (
    SELECT $1::oid
    UNION
    SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT pg_catalog.format('ALTER TABLE ONLY %I.%I DISABLE TRIGGER %I', n.nspname, c.relname, t.tgname),
       pg_catalog.format('ALTER TABLE ONLY %I.%I ENABLE %sTRIGGER %I', n.nspname, c.relname,
                         CASE t.tgenabled WHEN 'R' THEN 'REPLICA ' WHEN 'A' THEN 'ALWAYS ' ELSE '' END, t.tgname)
  FROM tree
  JOIN pg_catalog.pg_trigger t ON t.tgrelid = tree.oid
  JOIN pg_catalog.pg_class c ON c.oid = tree.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE t.tgenabled <> 'D' AND t.tgfoid <> 'pg_catalog.unique_key_recheck'::pg_catalog.regproc
   AND t.tgfoid <> 'agent_backup.capture()'::pg_catalog.regprocedure
UNION ALL
SELECT pg_catalog.format('SET CONSTRAINTS %I.%I IMMEDIATE', n.nspname, k.conname),
       pg_catalog.format('SET CONSTRAINTS %I.%I DEFERRED', n.nspname, k.conname)
  FROM tree
  JOIN pg_catalog.pg_constraint k ON k.conrelid = tree.oid AND k.contype IN ('p', 'u', 'x') AND k.condeferred
  JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
 ORDER BY 1
