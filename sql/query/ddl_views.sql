-- What the materialized views of $1 (oid[]) read, through any number of views: one row per view of the list and relation
-- that it needs and the list has not. Rows: view, its name, needed relation, its name, whether that is a view itself.
WITH RECURSIVE need(view, oid) AS (
    SELECT c.oid, c.oid
      FROM pg_catalog.unnest($1::oid[]) AS listed(oid) JOIN pg_catalog.pg_class AS c ON c.oid = listed.oid AND c.relkind = 'm'
    UNION
    SELECT n.view, d.refobjid
      FROM need AS n
      JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = n.oid
      JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
                                    AND d.refclassid = 'pg_catalog.pg_class'::regclass
     WHERE d.refobjid >= 16384
)
SELECT DISTINCT n.view, n.view::regclass::text,
       c.oid, c.oid::regclass::text, c.relkind IN ('v', 'm')
  FROM need AS n JOIN pg_catalog.pg_class AS c ON c.oid = n.oid AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
 WHERE n.oid <> ALL ($1::oid[])
