-- What holds the rows of relation $1: itself, or its partitions at any depth; and whether each is a heap, whose rows tell
-- the transaction that wrote them.
WITH RECURSIVE below(oid, relkind, relam) AS (
    SELECT c.oid, c.relkind, c.relam FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT c.oid, c.relkind, c.relam
      FROM below b
      JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
     WHERE b.relkind = 'p'
)
SELECT b.oid, b.relkind IN ('r', 'm') AND a.amname IS NOT DISTINCT FROM 'heap'
  FROM below b
  LEFT JOIN pg_catalog.pg_am a ON a.oid = b.relam
 WHERE b.relkind <> 'p'
 ORDER BY b.oid
