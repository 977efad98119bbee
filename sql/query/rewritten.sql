-- Tables of $1, and partitions below them, whose storage is not the one that the active snapshot sees: truncated or
-- rewritten since. pg_class is read by the snapshot, pg_relation_filenode() by the latest state.
WITH RECURSIVE below(oid) AS (
    SELECT pg_catalog.unnest($1::oid[])
    UNION
    SELECT i.inhrelid FROM below JOIN pg_catalog.pg_inherits i ON i.inhparent = below.oid
)
SELECT c.oid
  FROM below JOIN pg_catalog.pg_class c ON c.oid = below.oid
 WHERE c.relkind IN ('r', 'm') AND c.relfilenode <> 0
   AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode
