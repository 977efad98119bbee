-- A schema with one of everything that the DDL queries rebuild, under names chosen to break quoting.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT current_setting('server_version_num')::int >= 180000 AS is_18, current_setting('server_version_num')::int >= 170000 AS is_17 \gset
CREATE ROLE reader; CREATE ROLE "wri""ter's"; CREATE ROLE boss; CREATE ROLE inert;
CREATE SCHEMA ext; CREATE SCHEMA app AUTHORIZATION boss; CREATE SCHEMA "we""ird $s";
COMMENT ON SCHEMA app IS E'the app\'s schema \\ $$ ;-- \n\\! touch /tmp/never';
GRANT USAGE ON SCHEMA app TO reader, "wri""ter's" WITH GRANT OPTION;
CREATE EXTENSION hstore SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION btree_gist SCHEMA ext;
CREATE EXTENSION postgres_fdw SCHEMA ext;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'x');

-- types
SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') AS has_icu \gset
\if :has_icu
CREATE COLLATION app.nocase (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false);
\else
CREATE COLLATION app.nocase (LOCALE = 'C');
\endif
CREATE TYPE app.mood AS ENUM ('it''s', 'a"b', 'back\slash', E'new\nline', '😀');
ALTER TYPE app.mood ADD VALUE 'first' BEFORE 'it''s';
CREATE DOMAIN app.good AS app.mood NOT NULL DEFAULT 'first' CONSTRAINT "no 'bad'" CHECK (VALUE <> 'a"b');
CREATE DOMAIN app.goods AS app.good[] CHECK (cardinality(VALUE) < 10);
CREATE DOMAIN app."short;--" AS text COLLATE "C" CONSTRAINT short CHECK (length(VALUE) < 100);
ALTER DOMAIN app."short;--" ADD CONSTRAINT later CHECK (VALUE <> '') NOT VALID;
CREATE FUNCTION app.is_even(i int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT i % 2 = 0';
CREATE DOMAIN app.even AS int CONSTRAINT even CHECK (app.is_even(VALUE)) DEFAULT 2;
CREATE TYPE app.part AS (a int, b text COLLATE "C", "c ""x" app.goods, gone int);
ALTER TYPE app.part DROP ATTRIBUTE gone;
CREATE TYPE app.whole AS (p app.part[], e app.even);
CREATE FUNCTION app.diff(a app.even, b app.even) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT (a - b)::float8';
CREATE FUNCTION app.fdiff(a float8, b float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT a - b';
CREATE TYPE app.span AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = app.fdiff, MULTIRANGE_TYPE_NAME = app.spans);
CREATE TYPE app.textspan AS RANGE (SUBTYPE = text, COLLATION = "C", SUBTYPE_OPCLASS = text_pattern_ops);
COMMENT ON TYPE app.mood IS 'moods'; COMMENT ON DOMAIN app.good IS 'good''s'; COMMENT ON CONSTRAINT "no 'bad'" ON DOMAIN app.good IS 'never bad';
COMMENT ON COLUMN app.part.b IS 'b of part'; COMMENT ON TYPE app.part IS 'a part'; COMMENT ON COLLATION app.nocase IS 'no case';
ALTER TYPE app.mood OWNER TO boss; REVOKE USAGE ON TYPE app.mood FROM PUBLIC; GRANT USAGE ON TYPE app.mood TO reader;

-- functions
CREATE FUNCTION app.bump() RETURNS bigint LANGUAGE plpgsql AS $f$BEGIN RETURN 7; /* $function$ ; -- */ END$f$;
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $f$BEGIN RETURN NEW; END$f$;
CREATE FUNCTION app.label(t text, n int DEFAULT 3) RETURNS text LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT upper(t) || n; END;
CREATE FUNCTION app.visible(who text) RETURNS bool LANGUAGE sql STABLE AS $$SELECT who = current_user$$;
COMMENT ON FUNCTION app.touch() IS 'touch'; REVOKE EXECUTE ON FUNCTION app.touch() FROM PUBLIC; GRANT EXECUTE ON FUNCTION app.touch() TO reader;
ALTER FUNCTION app.bump() OWNER TO boss; GRANT EXECUTE ON FUNCTION app.bump() TO PUBLIC;
CREATE SEQUENCE app.shared AS smallint START 5 INCREMENT -2 MINVALUE -100 MAXVALUE 50 CACHE 4 CYCLE;
COMMENT ON SEQUENCE app.shared IS 'shared'; GRANT USAGE, SELECT ON SEQUENCE app.shared TO reader; ALTER SEQUENCE app.shared OWNER TO boss;

-- the main table
CREATE TABLE app.main (
    gone1 text,
    id bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME app."Main's seq" START 10 INCREMENT 5 MINVALUE 3 MAXVALUE 99999 CACHE 7 CYCLE),
    serial serial,
    code ext.citext NOT NULL,
    bag ext.hstore DEFAULT 'a=>1'::ext.hstore,
    mood app.good,
    moods app.goods,
    whole app.whole[],
    even app.even,
    short app."short;--",
    s app.span, ss app.spans, ts app.textspan,
    price numeric(10,2) DEFAULT 1.50 CONSTRAINT "price >= 0" CHECK (price >= 0),
    doubled numeric(12,2) GENERATED ALWAYS AS (price * 2) STORED,
    labelled text GENERATED ALWAYS AS (app.label('x', 4)) STORED,
    name text COLLATE app.nocase,
    named varchar(20) COLLATE "C" DEFAULT E'it''s \\ \n $$ :var',
    big text, big2 bytea,
    n bigint DEFAULT app.bump(),
    sh smallint DEFAULT nextval('app.shared'),
    at timestamptz(3) DEFAULT now(),
    arr int[][] DEFAULT '{{1,2},{3,4}}',
    parent_id bigint,
    other_id int,
    during tstzrange,
    room int,
    lob oid,
    gone2 int,
    "select" int, "Mixed Case" int, "q""q" int, "a'b" int, "new
line" int, "$$;--" int, "back\slash" int, "😀" int, "%s %I" int, "\! echo" int
) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false);
ALTER TABLE app.main DROP COLUMN gone1, DROP COLUMN gone2;
ALTER TABLE app.main ALTER big SET STORAGE EXTERNAL, ALTER big2 SET STORAGE MAIN, ALTER big SET COMPRESSION pglz, ALTER named SET STATISTICS 500,
    ALTER room SET (n_distinct = -0.5, n_distinct_inherited = 7);
CREATE TABLE app.other (id int, main_id bigint, CONSTRAINT other_pk PRIMARY KEY (id) INCLUDE (main_id) WITH (fillfactor = 80) DEFERRABLE INITIALLY DEFERRED,
    code text, UNIQUE NULLS NOT DISTINCT (code) , a int, b int, UNIQUE (a, b) WITH (fillfactor = 60));
ALTER TABLE app.main ADD CONSTRAINT "main's pk" PRIMARY KEY (id), ADD CONSTRAINT u UNIQUE (code) DEFERRABLE;
ALTER TABLE app.other ADD UNIQUE (b, a);
ALTER TABLE app.main ADD CONSTRAINT self FOREIGN KEY (parent_id) REFERENCES app.main ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE app.main ADD CONSTRAINT to_other FOREIGN KEY (other_id, room) REFERENCES app.other (a, b) MATCH FULL DEFERRABLE NOT VALID;
ALTER TABLE app.other ADD CONSTRAINT "to main" FOREIGN KEY (main_id) REFERENCES app.main ON DELETE CASCADE;
ALTER TABLE app.main ADD CONSTRAINT no_overlap EXCLUDE USING gist (room WITH =, during WITH &&) WITH (fillfactor = 55) WHERE (room > 0) DEFERRABLE;
ALTER TABLE app.main ADD CONSTRAINT late CHECK (app.is_even(room)) NOT VALID;
ALTER TABLE app.main ADD CONSTRAINT noinh CHECK (room < 1000) NO INHERIT;
CREATE INDEX partial ON app.main (lower(named) DESC NULLS LAST, room) INCLUDE (price) WITH (fillfactor = 50) WHERE price > 10 AND named <> 'x;--';
CREATE UNIQUE INDEX nnd ON app.main ("select", "Mixed Case") NULLS NOT DISTINCT;
CREATE UNIQUE INDEX "i""d's
x" ON app.main ("😀", "a'b" DESC);
CREATE INDEX ginx ON app.main USING gin (bag ext.gin_hstore_ops);
CREATE INDEX pat ON app.main (named varchar_pattern_ops, named COLLATE "POSIX");
CREATE INDEX fn ON app.main (app.label(named::text, room), (price + 1));
ALTER INDEX app.fn ALTER COLUMN 2 SET STATISTICS 300;
ALTER TABLE app.main CLUSTER ON fn;
ALTER TABLE app.other REPLICA IDENTITY FULL;
CREATE STATISTICS app."st'at" (ndistinct, mcv) ON room, price FROM app.main;
CREATE STATISTICS app.stexpr ON (price * 2), lower(named) FROM app.main; ALTER STATISTICS app."st'at" SET STATISTICS 50;
CREATE TRIGGER "a ""touch""" BEFORE INSERT OR UPDATE OF price, "a'b" ON app.main FOR EACH ROW WHEN (NEW.price > 1) EXECUTE FUNCTION app.touch('it''s', '\');
CREATE TRIGGER b AFTER INSERT ON app.main REFERENCING NEW TABLE AS nt FOR EACH STATEMENT EXECUTE FUNCTION app.touch();
CREATE TRIGGER c BEFORE DELETE ON app.main FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER d BEFORE DELETE ON app.main FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE CONSTRAINT TRIGGER e AFTER UPDATE ON app.main DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.main ENABLE ALWAYS TRIGGER b, ENABLE REPLICA TRIGGER c, DISABLE TRIGGER d;
CREATE RULE "no ""del" AS ON DELETE TO app.other WHERE old.a = 3 DO INSTEAD NOTHING;
CREATE RULE r2 AS ON UPDATE TO app.other WHERE old.a = 4 DO ALSO (SELECT 1; DELETE FROM app.other WHERE a = 77); ALTER TABLE app.other DISABLE RULE r2;
ALTER TABLE app.main ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY "p ""1" ON app.main AS RESTRICTIVE FOR UPDATE TO reader, "wri""ter's" USING (app.visible(named)) WITH CHECK (named = 'it''s');
CREATE POLICY p2 ON app.main FOR SELECT USING (true);
CREATE POLICY p3 ON app.main FOR INSERT TO PUBLIC WITH CHECK (price IN (SELECT a FROM app.other));
CREATE POLICY p4 ON app.other;
COMMENT ON TABLE app.main IS E'main''s \\ "table"\n\\! touch /tmp/never\n-- $$'; COMMENT ON COLUMN app.main."a'b" IS 'a''b'; COMMENT ON COLUMN app.main."new
line" IS 'nl'; COMMENT ON CONSTRAINT "price >= 0" ON app.main IS 'chk'; COMMENT ON CONSTRAINT self ON app.main IS 'fk';
COMMENT ON INDEX app.partial IS 'idx'; COMMENT ON INDEX app."main's pk" IS 'pk index'; COMMENT ON CONSTRAINT "main's pk" ON app.main IS 'pk';
COMMENT ON TRIGGER "a ""touch""" ON app.main IS 'trg'; COMMENT ON POLICY "p ""1" ON app.main IS 'pol'; COMMENT ON RULE "no ""del" ON app.other IS 'rule';
COMMENT ON STATISTICS app.stexpr IS 'stat'; COMMENT ON SEQUENCE app."Main's seq" IS 'identity';
GRANT SELECT ON app.main TO reader; GRANT ALL ON app.main TO "wri""ter's" WITH GRANT OPTION; GRANT INSERT (code, "a'b"), UPDATE ("a'b") ON app.main TO reader;
GRANT SELECT (code) ON app.main TO PUBLIC; GRANT UPDATE ON app.other TO reader WITH GRANT OPTION; GRANT SELECT ON app.other TO reader;
GRANT USAGE ON SEQUENCE app.main_serial_seq TO reader; GRANT SELECT ON SEQUENCE app."Main's seq" TO reader;
ALTER TABLE app.other OWNER TO boss; REVOKE TRUNCATE, DELETE ON app.other FROM boss; GRANT ALL ON app.other TO PUBLIC;
ALTER TABLE app.main OWNER TO boss; ALTER STATISTICS app.stexpr OWNER TO boss;

-- hostile names
CREATE TABLE "we""ird $s"."t'; DROP TABLE x; --
\! touch /tmp/never 😀 $function$" ("i""d's" int GENERATED BY DEFAULT AS IDENTITY CONSTRAINT "pk '"" 
x" PRIMARY KEY, ".." text DEFAULT '\.' CONSTRAINT "%s" NOT NULL, CHECK (".." <> $$--'$$));
COMMENT ON TABLE "we""ird $s"."t'; DROP TABLE x; --
\! touch /tmp/never 😀 $function$" IS 'x'; 
GRANT SELECT ON "we""ird $s"."t'; DROP TABLE x; --
\! touch /tmp/never 😀 $function$" TO "wri""ter's";
CREATE TABLE app."UPPER" ("A" int PRIMARY KEY, "B" int REFERENCES app."UPPER"); CREATE TABLE app.upper (a int); CREATE TABLE app."table" ();
CREATE TABLE app.ri (a int NOT NULL, b int NOT NULL); CREATE UNIQUE INDEX ri_ab ON app.ri (a, b); ALTER TABLE app.ri REPLICA IDENTITY USING INDEX ri_ab;
CREATE TABLE app.rn (a int); ALTER TABLE app.rn REPLICA IDENTITY NOTHING;
CREATE UNLOGGED TABLE app.unlogged (id bigserial PRIMARY KEY, j int GENERATED ALWAYS AS IDENTITY, t text);
CREATE TABLE app.typed OF app.part (PRIMARY KEY (a), b WITH OPTIONS DEFAULT 'x' NOT NULL);
CREATE TABLE app.typed0 OF app.part;

-- inheritance
CREATE TABLE app.base (id int NOT NULL, v text DEFAULT 'base', w int, CONSTRAINT base_chk CHECK (id > 0), x int GENERATED ALWAYS AS (id + 1) STORED);
CREATE TABLE app.base2 (z int DEFAULT 9, v text DEFAULT 'base');
CREATE TABLE app.kid (own int, CONSTRAINT kid_chk CHECK (own > 0)) INHERITS (app.base, app.base2);
ALTER TABLE app.kid ALTER v SET DEFAULT 'kid', ALTER z DROP DEFAULT, ALTER w SET NOT NULL;
CREATE TABLE app.kid2 (id int, CONSTRAINT base_chk CHECK (id > 0)) INHERITS (app.base);
ALTER TABLE app.base ADD CONSTRAINT local_only CHECK (w > 0) NO INHERIT;

-- partitions: two levels, a default, other column order, a foreign leaf
CREATE TABLE app.parted (id bigint GENERATED BY DEFAULT AS IDENTITY, at date NOT NULL, region app.mood, v text DEFAULT 'p', gone int, CONSTRAINT pos CHECK (id > 0))
    PARTITION BY RANGE (at, (id % 10));
ALTER TABLE app.parted DROP COLUMN gone;
CREATE TABLE app.p_2024 PARTITION OF app.parted FOR VALUES FROM ('2024-01-01', MINVALUE) TO ('2025-01-01', MINVALUE);
CREATE TABLE app.p_2025 (v text, region app.mood NOT NULL, at date NOT NULL, junk int, id bigint NOT NULL, CONSTRAINT pos CHECK (id > 0), CONSTRAINT p25only CHECK (v <> '')) PARTITION BY LIST (region);
ALTER TABLE app.p_2025 DROP COLUMN junk;
ALTER TABLE app.parted ATTACH PARTITION app.p_2025 FOR VALUES FROM ('2025-01-01', MINVALUE) TO ('2026-01-01', MAXVALUE);
CREATE TABLE app."p'25a" PARTITION OF app.p_2025 FOR VALUES IN ('it''s', 'back\slash', NULL) WITH (fillfactor = 40);
CREATE TABLE app.p_25d PARTITION OF app.p_2025 DEFAULT;
CREATE TABLE app.p_default PARTITION OF app.parted (v DEFAULT 'd') DEFAULT;
CREATE INDEX parted_v ON app.parted (v); CREATE INDEX own_idx ON app.p_2024 (v DESC);
CREATE TABLE app.hashed (id int, v text, k int REFERENCES app."UPPER", UNIQUE (id)) PARTITION BY HASH (id);
CREATE TABLE app.h0 PARTITION OF app.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE app.h1 PARTITION OF app.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE app.hashed ADD CONSTRAINT hpk PRIMARY KEY (id);
CREATE TABLE app.to_hashed (id int REFERENCES app.hashed ON DELETE CASCADE);
CREATE TRIGGER pt AFTER INSERT ON app.hashed FOR EACH ROW EXECUTE FUNCTION app.touch(); ALTER TABLE app.h1 DISABLE TRIGGER pt;
CREATE TRIGGER pt2 AFTER INSERT ON app.hashed FOR EACH ROW EXECUTE FUNCTION app.touch(); ALTER TABLE app.hashed ENABLE ALWAYS TRIGGER pt2;
COMMENT ON TABLE app.h0 IS 'leaf'; GRANT SELECT ON app.h0 TO reader; COMMENT ON INDEX app.h0_pkey IS 'leaf pk';
CREATE TABLE app.far (id int NOT NULL, t text) PARTITION BY LIST (id);
CREATE FOREIGN TABLE app.far1 PARTITION OF app.far FOR VALUES IN (1) SERVER away OPTIONS (table_name 'it''s', schema_name 's');
ALTER FOREIGN TABLE app.far1 ALTER COLUMN t OPTIONS (ADD column_name 'T"x');
CREATE FOREIGN TABLE app.alien (a int DEFAULT 3, b text) SERVER away; COMMENT ON FOREIGN TABLE app.alien IS 'alien';

-- what waits for tables
CREATE FUNCTION app.count_other() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM app.other; END;
CREATE FUNCTION app.whole_row(o app.other) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT o.a';
CREATE TABLE app.waits (n bigint DEFAULT app.count_other(), o app.other, oo app.other[], CHECK (app.whole_row(o) > 0));
CREATE INDEX waits_i ON app.waits (app.whole_row(o));
CREATE VIEW app.v1 (x, "y'y") WITH (security_barrier, check_option = local) AS SELECT a, code FROM app.other WHERE a > 0;
ALTER VIEW app.v1 ALTER COLUMN x SET DEFAULT 4;
CREATE VIEW app.v2 AS SELECT u.*, count(*) FROM app.hashed h JOIN app."UPPER" u ON u."A" = h.k GROUP BY u."A";
CREATE TRIGGER iot INSTEAD OF INSERT ON app.v2 FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE MATERIALIZED VIEW app.mv WITH (fillfactor = 90) AS SELECT x, 'it''s' AS t FROM app.v1; CREATE UNIQUE INDEX mvi ON app.mv (x); ALTER MATERIALIZED VIEW app.mv CLUSTER ON mvi;
CREATE MATERIALIZED VIEW app.mv_empty AS SELECT 1 AS one WITH NO DATA;
COMMENT ON VIEW app.v1 IS 'view'; COMMENT ON COLUMN app.v1."y'y" IS 'y'; COMMENT ON MATERIALIZED VIEW app.mv IS 'mv'; GRANT SELECT ON app.mv TO PUBLIC;
SELECT setval('app.shared', 33, false), nextval('app."Main''s seq"'), setval('app.unlogged_id_seq', 42);
\if :is_17
CREATE TABLE app.late_part (id int GENERATED ALWAYS AS IDENTITY, k int) PARTITION BY LIST (k);
CREATE TABLE app.late_p1 PARTITION OF app.late_part FOR VALUES IN (1);
CREATE DOMAIN app.nn AS int CONSTRAINT "nn's" NOT NULL; CREATE TABLE app.use_nn (a app.nn);
\endif
\if :is_18
CREATE TABLE app.eighteen (a int CONSTRAINT "named nn" NOT NULL, b int NOT NULL NO INHERIT, c int GENERATED ALWAYS AS (a + 1) VIRTUAL, d int CHECK (d > 0) NOT ENFORCED,
    e int REFERENCES app."UPPER" NOT ENFORCED, f int4range, k int, CONSTRAINT tmp PRIMARY KEY (k, f WITHOUT OVERLAPS));
ALTER TABLE app.eighteen ADD CONSTRAINT late_nn NOT NULL d NOT VALID; COMMENT ON CONSTRAINT "named nn" ON app.eighteen IS 'nn';
CREATE TABLE app.eighteen_ref (k int, f int4range, FOREIGN KEY (k, PERIOD f) REFERENCES app.eighteen (k, PERIOD f));
CREATE TABLE app.nnbase (a int CONSTRAINT base_nn NOT NULL, b int); CREATE TABLE app.nnkid (c int, CONSTRAINT own_nn NOT NULL b) INHERITS (app.nnbase);
CREATE TABLE app.nnpart (a int CONSTRAINT root_nn NOT NULL, b int) PARTITION BY LIST (a);
CREATE TABLE app.nnp1 (b int, a int CONSTRAINT leaf_nn NOT NULL); ALTER TABLE app.nnpart ATTACH PARTITION app.nnp1 FOR VALUES IN (1);
\endif
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
