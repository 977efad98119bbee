-- The triggers that would fire for rows of relation $1 and its partitions, but for those that check deferrable keys:
-- statements that switch each off, and on again as it was.
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
 ORDER BY c.oid, t.oid
