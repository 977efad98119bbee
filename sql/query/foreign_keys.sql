-- The foreign keys into and out of the tables $1, each once at the top of its partitions: name, both tables with the
-- columns of the key, the operators that compare them and under which collation, whether all or none must be null, and
-- the parent's owner.
WITH RECURSIVE above(oid) AS (
    SELECT pg_catalog.unnest($1::oid[])
    UNION
    SELECT i.inhparent FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'p'
), below(oid) AS (
    SELECT pg_catalog.unnest($1::oid[])
    UNION
    SELECT i.inhrelid FROM below JOIN pg_catalog.pg_inherits i ON i.inhparent = below.oid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
), touched(oid) AS (SELECT oid FROM above UNION SELECT oid FROM below)
SELECT c.conname::text, f.oid, f.relowner, f.relkind::text, pg_catalog.format('%I.%I', fn.nspname, f.relname),
       p.oid, p.relkind::text, pg_catalog.format('%I.%I', pn.nspname, p.relname),
       k.columns, k.keys, k.operators, k.collations, c.confmatchtype = 'f', p.relowner
  FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_class f ON f.oid = c.conrelid
  JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
  JOIN pg_catalog.pg_class p ON p.oid = c.confrelid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
  CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(pg_catalog.quote_ident(a.attname) ORDER BY u.place) AS columns,
           pg_catalog.array_agg(pg_catalog.quote_ident(b.attname) ORDER BY u.place) AS keys,
           pg_catalog.array_agg(pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) ORDER BY u.place) AS operators,
           pg_catalog.array_agg(CASE WHEN b.attcollation <> 0 AND b.attcollation <> a.attcollation
                                     THEN (SELECT pg_catalog.format(' COLLATE %I.%I', m.nspname, l.collname) FROM pg_catalog.pg_collation l
                                             JOIN pg_catalog.pg_namespace m ON m.oid = l.collnamespace WHERE l.oid = b.attcollation)
                                     ELSE '' END ORDER BY u.place) AS collations
      FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey), pg_catalog.unnest(c.conpfeqop)) WITH ORDINALITY AS u(own, other, operator, place)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = u.own
      JOIN pg_catalog.pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = u.other
      JOIN pg_catalog.pg_operator o ON o.oid = u.operator
      JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace) AS k
 WHERE c.contype = 'f' AND c.conparentid = 0 AND c.convalidated
   AND COALESCE((pg_catalog.to_jsonb(c) ->> 'conenforced')::boolean, true)
   AND (c.conrelid IN (SELECT oid FROM touched) OR c.confrelid IN (SELECT oid FROM touched))
 ORDER BY 5, 1
