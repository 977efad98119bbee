-- What the relations of $1 (oid[]) stand on: schemas, extensions, collations, types, functions and sequences,
-- with their comments, owners and grants. Rows: section, ordinal, object, statement (without the semicolon).
-- Read under search_path = '', so that every name comes out qualified. The order of sections is in ddl_order.md.
WITH RECURSIVE
listed AS MATERIALIZED (
    SELECT DISTINCT t.oid
    FROM pg_catalog.unnest($1::oid[]) AS u(oid)
    CROSS JOIN LATERAL (SELECT u.oid UNION ALL SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(u.oid::regclass) AS p) AS t(oid)
),
-- Everything reached from the relations along pg_depend: what an object needs, and the parts that it owns.
-- Of a member of an extension only the extension matters; other tables are not walked into.
node (classid, objid) AS (
    SELECT 'pg_class'::regclass::oid, oid FROM listed
  UNION
    SELECT e.classid, e.objid
    FROM node AS n
    CROSS JOIN LATERAL (
        SELECT d.refclassid AS classid, d.refobjid AS objid
        FROM (SELECT EXISTS (SELECT FROM pg_depend AS m WHERE m.classid = n.classid AND m.objid = n.objid AND m.deptype = 'e') AS is_member OFFSET 0) AS x
        CROSS JOIN pg_depend AS d
        LEFT JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
        WHERE d.classid = n.classid AND d.objid = n.objid AND (d.deptype = 'e' OR NOT x.is_member)
          AND d.refclassid NOT IN ('pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_namespace'::regclass, 'pg_policy'::regclass)
          AND (d.refclassid <> 'pg_class'::regclass OR c.relkind IN ('S', 'c'))
      UNION ALL
        SELECT d.classid, d.objid
        FROM pg_depend AS d
        LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
        WHERE d.refclassid = n.classid AND d.refobjid = n.objid AND d.deptype IN ('a', 'i')
          AND (d.classid IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass,
                             'pg_rewrite'::regclass, 'pg_statistic_ext'::regclass)
               OR c.relkind IN ('S', 'i', 'I', 'c'))
        OFFSET 0
    ) AS e
),
own AS MATERIALIZED (
    SELECT n.classid, n.objid
    FROM node AS n
    WHERE n.classid IN ('pg_type'::regclass, 'pg_proc'::regclass, 'pg_class'::regclass, 'pg_collation'::regclass, 'pg_extension'::regclass)
      AND NOT EXISTS (SELECT FROM pg_depend AS m WHERE m.classid = n.classid AND m.objid = n.objid AND m.deptype = 'e')
),
-- The columns of a composite type belong to a relation of kind 'c', which depends on the type: fold it into the type.
edge AS MATERIALIZED (
    SELECT DISTINCT CASE WHEN c.oid IS NULL THEN n.classid ELSE 'pg_type'::regclass END AS classid, coalesce(c.reltype, n.objid) AS objid,
           d.refclassid, d.refobjid
    FROM own AS n
    LEFT JOIN pg_class AS c ON n.classid = 'pg_class'::regclass AND c.oid = n.objid AND c.relkind = 'c'
    JOIN pg_depend AS d ON d.classid = n.classid AND d.objid = n.objid
    JOIN own AS m ON m.classid = d.refclassid AND m.objid = d.refobjid
    WHERE (n.classid <> 'pg_class'::regclass OR c.oid IS NOT NULL AND m.objid <> c.reltype)
      AND (n.classid, n.objid) <> (m.classid, m.objid)
),
-- The deeper an object lies below its users, the earlier it is created.
deep (classid, objid, depth) AS (
    SELECT classid, objid, 0 FROM own
  UNION
    SELECT e.refclassid, e.refobjid, d.depth + 1
    FROM deep AS d JOIN edge AS e ON e.classid = d.classid AND e.objid = d.objid
    WHERE d.depth < 30
),
-- Functions and types that name a table (1) or a view or constraint (2) wait until that exists.
late (classid, objid, stage) AS (
    SELECT n.classid, n.objid, s.stage
    FROM own AS n
    CROSS JOIN LATERAL (
        SELECT CASE WHEN d.refclassid = 'pg_constraint'::regclass OR c.relkind IN ('v', 'm') THEN 2 ELSE 1 END AS stage
        FROM pg_depend AS d
        LEFT JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
        WHERE d.classid = n.classid AND d.objid = n.objid
          AND (d.refclassid = 'pg_constraint'::regclass OR c.relkind IN ('r', 'p', 'f', 'v', 'm'))
        OFFSET 0
    ) AS s
    WHERE n.classid IN ('pg_type'::regclass, 'pg_proc'::regclass)
  UNION
    SELECT e.classid, e.objid, l.stage
    FROM late AS l JOIN edge AS e ON e.refclassid = l.classid AND e.refobjid = l.objid
),
-- Functions that a type's definition calls are created among the types.
early (classid, objid) AS (
    SELECT e.refclassid, e.refobjid FROM edge AS e
    WHERE e.classid = 'pg_type'::regclass AND e.refclassid = 'pg_proc'::regclass
  UNION
    SELECT e.refclassid, e.refobjid FROM early AS y
    JOIN edge AS e ON e.classid = y.classid AND e.objid = y.objid AND e.refclassid = 'pg_proc'::regclass
),
item AS MATERIALIZED (
    SELECT o.classid, o.objid, 1000 - (SELECT max(d.depth) FROM deep AS d WHERE d.classid = o.classid AND d.objid = o.objid) AS rank,
           (SELECT max(l.stage) FROM late AS l WHERE l.classid = o.classid AND l.objid = o.objid) AS stage
    FROM own AS o
),
types AS MATERIALIZED (
    SELECT t.oid, t.typtype, t.typbasetype, t.typtypmod, t.typcollation, t.typdefault, t.typnotnull, t.typrelid, t.typowner, t.typacl,
           t.typname, t.typnamespace, format('%I.%I', n.nspname, t.typname) AS name, i.rank, i.stage,
           CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END AS word
    FROM item AS i
    JOIN pg_type AS t ON i.classid = 'pg_type'::regclass AND t.oid = i.objid
    JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd', 'r')
       OR t.typtype = 'c' AND (SELECT c.relkind FROM pg_class AS c WHERE c.oid = t.typrelid) = 'c'
),
domain_check AS MATERIALIZED (
    SELECT c.oid, c.conname, c.contypid, t.name, t.rank, pg_get_constraintdef(c.oid) AS def, c.contype,
           NOT c.convalidated OR f.called > 0 AS apart, f.stage
    FROM types AS t JOIN pg_constraint AS c ON c.contypid = t.oid
    CROSS JOIN LATERAL (
        SELECT count(*) AS called, max(i.stage) AS stage
        FROM pg_depend AS d JOIN item AS i ON i.classid = d.refclassid AND i.objid = d.refobjid
        WHERE d.classid = 'pg_constraint'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_proc'::regclass) AS f
),
functions AS MATERIALIZED (
    SELECT p.oid, p.prokind, p.proowner, p.proacl, p.pronamespace, i.rank, i.stage,
           format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name,
           CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS word,
           EXISTS (SELECT FROM early AS y WHERE y.objid = p.oid) AS early
    FROM item AS i
    JOIN pg_proc AS p ON i.classid = 'pg_proc'::regclass AND p.oid = i.objid
    JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.prokind <> 'a'
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
),
sequences AS MATERIALIZED (
    SELECT c.oid, c.relowner, c.relacl, c.relnamespace, c.relpersistence, format('%I.%I', n.nspname, c.relname) AS name, s.*, 
           o.deptype, o.refobjid AS table_oid, o.refobjsubid AS column_number, t.relpersistence AS table_persistence,
           l.oid IS NOT NULL AS owned_here
    FROM own AS i
    JOIN pg_class AS c ON i.classid = 'pg_class'::regclass AND c.oid = i.objid AND c.relkind = 'S'
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_sequence AS s ON s.seqrelid = c.oid
    LEFT JOIN pg_depend AS o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass
                            AND o.deptype IN ('a', 'i') AND o.refobjsubid > 0
    LEFT JOIN listed AS l ON l.oid = o.refobjid
    LEFT JOIN pg_class AS t ON t.oid = o.refobjid
),
collations AS MATERIALIZED (
    SELECT c.*, format('%I.%I', n.nspname, c.collname) AS name, to_jsonb(c) AS j
    FROM own AS i
    JOIN pg_collation AS c ON i.classid = 'pg_collation'::regclass AND c.oid = i.objid
    JOIN pg_namespace AS n ON n.oid = c.collnamespace
),
extensions AS MATERIALIZED (
    SELECT e.oid, e.extname, e.extnamespace, i.rank, n.nspname
    FROM item AS i
    JOIN pg_extension AS e ON i.classid = 'pg_extension'::regclass AND e.oid = i.objid AND e.oid >= 16384
    JOIN pg_namespace AS n ON n.oid = e.extnamespace
),
schemas AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl, format('%I', n.nspname) AS name
    FROM pg_namespace AS n
    WHERE n.oid IN (
            SELECT c.relnamespace FROM listed AS l JOIN pg_class AS c ON c.oid = l.oid
            UNION SELECT typnamespace FROM types UNION SELECT pronamespace FROM functions UNION SELECT relnamespace FROM sequences
            UNION SELECT collnamespace FROM collations UNION SELECT extnamespace FROM extensions)
      AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
),
-- One shape for what can be commented, owned and granted.
thing AS MATERIALIZED (
    SELECT 1 AS kind, 'pg_namespace'::regclass::oid AS classid, oid, name, 'SCHEMA' AS word, nspowner AS owner, nspacl AS acl, 'n'::"char" AS acltype, true AS can_own
    FROM schemas
    UNION ALL SELECT 2, 'pg_extension'::regclass, oid, format('%I', extname), 'EXTENSION', NULL, NULL, NULL, false FROM extensions
    UNION ALL SELECT 3, 'pg_collation'::regclass, oid, name, 'COLLATION', collowner, NULL, NULL, true FROM collations
    UNION ALL SELECT 4, 'pg_type'::regclass, oid, name, word, typowner, typacl, 'T', true FROM types
    UNION ALL SELECT 5, 'pg_proc'::regclass, oid, name, word, proowner, proacl, 'f', true FROM functions
    UNION ALL SELECT 6, 'pg_class'::regclass, oid, name, 'SEQUENCE', relowner, relacl, 's', NOT owned_here FROM sequences
),
acl AS MATERIALIZED (
    SELECT g.kind, g.name, g.word, a.is_now, a.grantee, a.is_grantable, a.privilege_type, a.n,
           cardinality(array(SELECT x.privilege_type FROM aclexplode(acldefault(g.acltype, g.owner)) AS x WHERE x.grantee = g.owner)) AS full_set
    FROM thing AS g
    LEFT JOIN pg_init_privs AS ip ON ip.classoid = g.classid AND ip.objoid = g.oid AND ip.objsubid = 0
    CROSS JOIN LATERAL (
        (SELECT true AS is_now, x.grantee, x.privilege_type, x.is_grantable, x.ordinality AS n
         FROM aclexplode(g.acl) WITH ORDINALITY AS x(grantor, grantee, privilege_type, is_grantable, ordinality)
         WHERE NOT EXISTS (SELECT FROM aclexplode(coalesce(ip.initprivs, acldefault(g.acltype, g.owner))) AS b
                           WHERE b.grantee = x.grantee AND b.privilege_type = x.privilege_type AND b.is_grantable >= x.is_grantable))
        UNION ALL
        (SELECT false, b.grantee, b.privilege_type, false, b.ordinality
         FROM aclexplode(coalesce(ip.initprivs, acldefault(g.acltype, g.owner))) WITH ORDINALITY AS b(grantor, grantee, privilege_type, is_grantable, ordinality)
         WHERE NOT EXISTS (SELECT FROM aclexplode(g.acl) AS x WHERE x.grantee = b.grantee AND x.privilege_type = b.privilege_type))
    ) AS a
    WHERE g.acl IS NOT NULL
)
SELECT r.section, row_number() OVER (PARTITION BY r.section ORDER BY r.rank, r.object, r.n) AS ordinal, r.object, r.statement
FROM (
    SELECT 'preamble' AS section, v.n AS rank, v.n AS n, 'session' AS object, v.s AS statement
    FROM (VALUES (1, 'SET statement_timeout = 0'), (2, 'SET lock_timeout = 0'), (3, 'SET standard_conforming_strings = on'),
                 (4, 'SET check_function_bodies = false'), (5, 'SET client_min_messages = warning'), (6, 'SET row_security = off'),
                 (7, 'SET default_tablespace = '''''), (8, 'SET default_table_access_method = heap'), (9, 'SET search_path = '''''),
                 (10, 'SET xmloption = content')) AS v(n, s)
    UNION ALL
    SELECT 'schema', 1, 0, name, 'CREATE SCHEMA IF NOT EXISTS ' || name FROM schemas
    UNION ALL
    SELECT 'extension', rank, 0, format('%I', extname), format('CREATE EXTENSION IF NOT EXISTS %I WITH SCHEMA %I', extname, nspname) FROM extensions
    UNION ALL
    SELECT 'type', 0, 0, name,
           format('CREATE COLLATION %s (PROVIDER = %s, DETERMINISTIC = %s', name,
                  CASE collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END, CASE WHEN collisdeterministic THEN 'true' ELSE 'false' END)
           || coalesce(', LC_COLLATE = ' || quote_literal(j ->> 'collcollate'), '') || coalesce(', LC_CTYPE = ' || quote_literal(j ->> 'collctype'), '')
           || coalesce(', LOCALE = ' || quote_literal(coalesce(j ->> 'collocale', j ->> 'colliculocale')), '')
           || coalesce(', RULES = ' || quote_literal(j ->> 'collicurules'), '') || ')'
    FROM collations
    UNION ALL
    SELECT CASE t.stage WHEN 1 THEN 'function_late' WHEN 2 THEN 'function_last' ELSE 'type' END, t.rank, 0, t.name,
           CASE t.typtype
           WHEN 'e' THEN format('CREATE TYPE %s AS ENUM (%s)', t.name,
                (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid))
           WHEN 'd' THEN format('CREATE DOMAIN %s AS %s', t.name, format_type(t.typbasetype, t.typtypmod))
                || coalesce((SELECT format(' COLLATE %I.%I', n.nspname, k.collname)
                             FROM pg_collation AS k JOIN pg_namespace AS n ON n.oid = k.collnamespace JOIN pg_type AS b ON b.oid = t.typbasetype
                             WHERE k.oid = t.typcollation AND k.oid <> b.typcollation), '')
                || coalesce(' DEFAULT ' || t.typdefault, '')
                || CASE WHEN NOT t.typnotnull THEN ''
                        ELSE coalesce((SELECT format(' CONSTRAINT %I', c.conname) FROM domain_check AS c
                                       WHERE c.contypid = t.oid AND c.contype = 'n' AND c.conname <> t.typname || '_not_null'), '') || ' NOT NULL' END
                || coalesce((SELECT string_agg(format(E'\n    CONSTRAINT %I %s', c.conname, c.def), '' ORDER BY c.conname)
                             FROM domain_check AS c WHERE c.contypid = t.oid AND c.contype = 'c' AND NOT c.apart), '')
           WHEN 'c' THEN format('CREATE TYPE %s AS (%s)', t.name, (
                SELECT string_agg(E'\n    ' || quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                                  || CASE WHEN a.attcollation <> b.typcollation THEN format(' COLLATE %I.%I', n.nspname, k.collname) ELSE '' END,
                                  ',' ORDER BY a.attnum)
                FROM pg_attribute AS a JOIN pg_type AS b ON b.oid = a.atttypid
                LEFT JOIN pg_collation AS k ON k.oid = a.attcollation LEFT JOIN pg_namespace AS n ON n.oid = k.collnamespace
                WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
           WHEN 'r' THEN (
                SELECT format('CREATE TYPE %s AS RANGE (SUBTYPE = %s, MULTIRANGE_TYPE_NAME = %I.%I', t.name, format_type(r.rngsubtype, NULL), mn.nspname, m.typname)
                    || CASE WHEN NOT oc.opcdefault OR oc.opcintype <> r.rngsubtype THEN format(', SUBTYPE_OPCLASS = %I.%I', n.nspname, oc.opcname) ELSE '' END
                    || coalesce((SELECT format(', COLLATION = %I.%I', kn.nspname, k.collname) FROM pg_collation AS k
                                 JOIN pg_namespace AS kn ON kn.oid = k.collnamespace WHERE k.oid = r.rngcollation AND k.oid <> st.typcollation), '')
                    || CASE WHEN r.rngsubdiff <> 0 THEN format(', SUBTYPE_DIFF = %I.%I', fn.nspname, f.proname) ELSE '' END || ')'
                FROM pg_range AS r
                JOIN pg_type AS m ON m.oid = r.rngmultitypid JOIN pg_namespace AS mn ON mn.oid = m.typnamespace
                JOIN pg_type AS st ON st.oid = r.rngsubtype
                JOIN pg_opclass AS oc ON oc.oid = r.rngsubopc JOIN pg_namespace AS n ON n.oid = oc.opcnamespace
                LEFT JOIN pg_proc AS f ON f.oid = r.rngsubdiff::oid LEFT JOIN pg_namespace AS fn ON fn.oid = f.pronamespace
                WHERE r.rngtypid = t.oid)
           END
    FROM types AS t
    UNION ALL
    SELECT CASE stage WHEN 1 THEN 'function_late' WHEN 2 THEN 'function_last' ELSE CASE WHEN early THEN 'type' ELSE 'function' END END,
           rank, 1, name, rtrim(pg_get_functiondef(oid), E'\n')
    FROM functions
    UNION ALL
    SELECT 'sequence', 1, 0, name,
           format('CREATE %sSEQUENCE %s AS %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s',
                  CASE relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, name, format_type(seqtypid, NULL),
                  seqstart, seqincrement, seqmin, seqmax, seqcache, CASE WHEN seqcycle THEN ' CYCLE' ELSE '' END)
    FROM sequences WHERE deptype IS DISTINCT FROM 'i'
    UNION ALL
    SELECT 'sequence_owned', 1, 0, s.name, format('ALTER SEQUENCE %s OWNED BY %I.%I.%I', s.name, n.nspname, c.relname, a.attname)
    FROM sequences AS s
    JOIN pg_class AS c ON c.oid = s.table_oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = s.column_number
    WHERE s.deptype = 'a' AND s.owned_here
    UNION ALL
    SELECT 'sequence_owned', 2, 0, name, format('ALTER SEQUENCE %s SET %s', name, CASE relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END)
    FROM sequences WHERE deptype = 'i' AND owned_here AND relpersistence <> table_persistence
    UNION ALL
    SELECT CASE WHEN stage IS NULL THEN 'function' ELSE 'constraint' END, CASE WHEN stage IS NULL THEN 10000 ELSE -1 END, 0, name, format('ALTER DOMAIN %s ADD CONSTRAINT %I %s', name, conname, def)
    FROM domain_check WHERE contype = 'c' AND apart
    UNION ALL
    SELECT 'comment', g.kind, 0, g.name, format('COMMENT ON %s %s IS %L', g.word, g.name, d.description)
    FROM thing AS g
    JOIN pg_description AS d ON d.classoid = g.classid AND d.objoid = g.oid AND d.objsubid = 0
    WHERE NOT (g.word = 'SCHEMA' AND g.name = 'public' AND d.description = 'standard public schema')
      AND g.word <> 'EXTENSION'
    UNION ALL
    SELECT 'comment', 7, 0, c.name, format('COMMENT ON CONSTRAINT %I ON DOMAIN %s IS %L', c.conname, c.name, d.description)
    FROM domain_check AS c
    JOIN pg_description AS d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = c.oid AND d.objsubid = 0
    UNION ALL
    SELECT 'comment', 8, a.attnum, t.name, format('COMMENT ON COLUMN %s.%I IS %L', t.name, a.attname, d.description)
    FROM types AS t
    JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND NOT a.attisdropped
    JOIN pg_description AS d ON d.classoid = 'pg_class'::regclass AND d.objoid = t.typrelid AND d.objsubid = a.attnum
    WHERE t.typtype = 'c'
    UNION ALL
    SELECT 'owner', kind, 0, name, format('ALTER %s %s OWNER TO %I', word, name, pg_get_userbyid(owner))
    FROM thing
    WHERE can_own AND NOT (name = 'public' AND word = 'SCHEMA' AND owner = 'pg_database_owner'::regrole)
    UNION ALL
    SELECT 'grant', kind * 2, min(n), name,
           format('REVOKE %s ON %s %s FROM %s', string_agg(privilege_type, ', ' ORDER BY n), word, name,
                  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
    FROM acl WHERE NOT is_now GROUP BY kind, name, word, grantee
    UNION ALL
    SELECT 'grant', kind * 2 + 1, min(n), name,
           format('GRANT %s ON %s %s TO %s%s', CASE WHEN count(*) = min(full_set) THEN 'ALL' ELSE string_agg(privilege_type, ', ' ORDER BY n) END, word, name,
                  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM acl WHERE is_now GROUP BY kind, name, word, grantee, is_grantable
) AS r
ORDER BY 1, 2
