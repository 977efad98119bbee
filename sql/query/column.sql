-- The live columns of the relations of $1, in their order. A generated column shows as generated on every version.
SELECT a.attrelid, a.attname::text, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.attgenerated <> '', a.attnotnull
  FROM pg_catalog.unnest($1::oid[]) WITH ORDINALITY AS wanted(oid, place)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = wanted.oid
 WHERE a.attnum > 0 AND NOT a.attisdropped
 ORDER BY wanted.place, a.attnum
