-- One row per relation of $1: what kind it is, whose, and how large. Order of $1.
SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relowner,
       pg_catalog.pg_table_size(c.oid),
       (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.place)
          FROM pg_catalog.pg_index i
          CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
         WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts),
       c.relnamespace IN (SELECT n.oid FROM pg_catalog.pg_namespace n
                           WHERE n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast'))
  FROM pg_catalog.unnest($1::oid[]) WITH ORDINALITY AS wanted(oid, place)
  JOIN pg_catalog.pg_class c ON c.oid = wanted.oid
 ORDER BY wanted.place
