-- The foreign servers that rows of relation $1 or of its partitions are on.
SELECT DISTINCT s.srvname::text
  FROM (SELECT relid FROM pg_catalog.pg_partition_tree($1) UNION SELECT $1::pg_catalog.regclass) AS part(oid)
  JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = part.oid
  JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
 ORDER BY 1
