-- Populated materialized views that read the tables $1, directly or through views, those that others read first.
WITH RECURSIVE reads(oid, depth) AS (
    SELECT pg_catalog.unnest($1::oid[]), 0
    UNION
    SELECT r.ev_class, reads.depth + 1
      FROM reads
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = reads.oid
       AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
      JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_class <> reads.oid
     WHERE reads.depth < 100
)
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM (SELECT oid, pg_catalog.max(depth) AS depth FROM reads GROUP BY oid) AS last
  JOIN pg_catalog.pg_class c ON c.oid = last.oid AND c.relkind = 'm' AND c.relispopulated
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 ORDER BY last.depth, 1
