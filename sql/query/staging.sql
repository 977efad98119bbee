-- What a table beside relation $1 must look like to take its rows and, for a heap, its place: one row per line of the
-- definition. kind: column (text: definition, name), dropped (placeholder, to be dropped again: columns keep their
-- numbers), storage (column, storage), check (constraint), option (heap option), place (USING), tablespace (clause), move (to a
-- tablespace that is not the database's own).
SELECT 'column' AS kind, a.attnum::int AS ordinal, a.attname::text AS name,
       pg_catalog.format('%I %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
       || CASE WHEN a.attcompression::text <> '' THEN ' COMPRESSION ' || CASE a.attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END ELSE '' END
       || CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0
               THEN (SELECT pg_catalog.format(' COLLATE %I.%I', n.nspname, o.collname) FROM pg_catalog.pg_collation o
                       JOIN pg_catalog.pg_namespace n ON n.oid = o.collnamespace WHERE o.oid = a.attcollation)
               ELSE '' END
       || CASE WHEN a.attgenerated <> ''
               THEN pg_catalog.format(' GENERATED ALWAYS AS (%s) %s', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
                                      CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
               WHEN a.attidentity <> ''
               THEN pg_catalog.format(' DEFAULT pg_catalog.nextval(%L::pg_catalog.regclass)',
                                      (SELECT s.objid::pg_catalog.regclass::text FROM pg_catalog.pg_depend s
                                        WHERE s.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.refobjid = a.attrelid
                                          AND s.refobjsubid = a.attnum AND s.deptype = 'i'
                                          AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass))
               WHEN d.adbin IS NOT NULL THEN ' DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)
               ELSE '' END
       || CASE WHEN a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint n
                                                  WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND NOT n.convalidated
                                                    AND a.attnum = ANY (n.conkey))
               THEN ' NOT NULL' ELSE '' END AS definition
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'dropped', a.attnum::int, NULL, NULL
  FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND a.attisdropped
UNION ALL
SELECT 'storage', a.attnum::int, a.attname::text,
       CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> t.typstorage
UNION ALL
SELECT 'check', c.oid::int8::int4, c.conname::text,
       pg_catalog.format('CONSTRAINT %I %s', c.conname, pg_catalog.pg_get_constraintdef(c.oid))
  FROM pg_catalog.pg_constraint c
 WHERE c.conrelid = $1 AND c.contype = 'c' AND c.convalidated
   AND COALESCE((pg_catalog.to_jsonb(c) ->> 'conenforced')::boolean, true)
UNION ALL
SELECT 'check', 0, NULL, pg_catalog.format('CHECK (%s)', pg_catalog.pg_get_partition_constraintdef(c.oid))
  FROM pg_catalog.pg_class c WHERE c.oid = $1 AND pg_catalog.pg_get_partition_constraintdef(c.oid) IS NOT NULL
UNION ALL
SELECT 'option', 0, NULL, o.option
  FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.unnest(c.reloptions) AS o(option)
 WHERE c.oid = $1 AND c.relkind = 'r'
UNION ALL
SELECT 'option', 0, NULL, 'toast.' || o.option
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class s ON s.oid = c.reltoastrelid
  CROSS JOIN LATERAL pg_catalog.unnest(s.reloptions) AS o(option)
 WHERE c.oid = $1 AND c.relkind = 'r'
UNION ALL
SELECT 'place', 0, NULL,
       COALESCE(' USING ' || pg_catalog.quote_ident(m.amname), '')
  FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam
 WHERE c.oid = $1 AND c.relkind = 'r'
UNION ALL
SELECT CASE WHEN c.reltablespace = 0 THEN 'tablespace' ELSE 'move' END, 0, NULL,
       CASE WHEN c.reltablespace = 0 THEN ' TABLESPACE ' ELSE '' END || pg_catalog.quote_ident(s.spcname)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
  JOIN pg_catalog.pg_tablespace s ON s.oid = CASE WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END
 WHERE c.oid = $1 AND c.relkind = 'r'
 ORDER BY 1, 2, 3, 4
