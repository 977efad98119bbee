-- The sequences that give values to whole-number columns of relation $1: owned by a column, or named in its default;
-- and whether the table's owner may set them.
WITH used(sequence, number) AS (
    SELECT d.objid, d.refobjsubid
      FROM pg_catalog.pg_depend d
     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND d.refobjid = $1 AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid, f.adnum
      FROM pg_catalog.pg_attrdef f
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
     WHERE f.adrelid = $1
)
SELECT s.oid, pg_catalog.format('%I.%I', n.nspname, s.relname), a.attname::text, q.seqincrement > 0, q.seqmin, q.seqmax,
       pg_catalog.has_sequence_privilege(t.relowner, s.oid, 'UPDATE')
  FROM used
  JOIN pg_catalog.pg_class s ON s.oid = used.sequence AND s.relkind = 'S'
  JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
  JOIN pg_catalog.pg_class t ON t.oid = $1
  JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = used.number
 WHERE a.atttypid IN ('pg_catalog.int2'::pg_catalog.regtype, 'pg_catalog.int4'::pg_catalog.regtype, 'pg_catalog.int8'::pg_catalog.regtype)
 ORDER BY 2, 3
