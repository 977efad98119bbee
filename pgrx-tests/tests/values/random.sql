-- Random tables, the same for the same seed. CALL rnd.make(seed) drops rnd.t and makes it anew.
CREATE SCHEMA rnd;
CREATE TYPE rnd.mood AS ENUM ('', 'a"b', 'it''s', E'back\\slash', E'new\nline', '😀', 'NULL', 'x,y');
CREATE TYPE rnd.pair AS (a int, b text, c timestamptz, d numeric[]);
CREATE DOMAIN rnd.positive AS int CHECK (VALUE > 0);
CREATE TYPE rnd.span AS RANGE (SUBTYPE = float8);

CREATE FUNCTION rnd.one_of(VARIADIC text[]) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT $1[1 + floor(random() * cardinality($1))::int]';
CREATE FUNCTION rnd.n(below numeric) RETURNS numeric LANGUAGE sql VOLATILE AS 'SELECT floor(random()::numeric * below)';
-- Short texts of any characters, the special ones often, now and then a long one.
CREATE FUNCTION rnd.words() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    made text := '';
    code int;
BEGIN
    IF random() < 0.02 THEN
        RETURN repeat(rnd.one_of('x', 'é', E'\\', '"', '''', E'\n', '😀 '), rnd.n(9000)::int);
    END IF;
    FOR i IN 1..rnd.n(12) LOOP
        code := CASE rnd.n(6)::int WHEN 0 THEN 1 + rnd.n(127) WHEN 1 THEN 32 + rnd.n(95) WHEN 2 THEN 128 + rnd.n(1920)
                WHEN 3 THEN 57344 + rnd.n(8190) WHEN 4 THEN 65536 + rnd.n(1048576) ELSE 0 END;
        made := made || CASE code WHEN 0 THEN rnd.one_of('"', '''', E'\\', ',', E'\n', E'\r', E'\t', '{', '}', '(', ')', 'NULL', E'\\.', E'\\N', ' ', ';', '$', ':', '%')
                ELSE chr(code) END;
    END LOOP;
    RETURN made;
END $$;
CREATE FUNCTION rnd.bytes() RETURNS bytea LANGUAGE sql VOLATILE AS
    'SELECT substr(decode(repeat(md5(random()::text), 1 + rnd.n(4)::int), ''hex''), 1, rnd.n(40)::int)';
CREATE FUNCTION rnd.number() RETURNS numeric LANGUAGE sql VOLATILE AS $$
    SELECT CASE rnd.n(8)::int
        WHEN 0 THEN rnd.one_of('0', '-0', '0.00', 'NaN', '1', '-1', '10000', '0.0001', '1e-30', '9999.9999')::numeric
        WHEN 1 THEN 'Infinity'::numeric * rnd.one_of('1', '-1')::int
        WHEN 2 THEN round((random()::numeric - 0.5) * power(10::numeric, rnd.n(40)::int), rnd.n(30)::int)
        WHEN 3 THEN repeat(1 + rnd.n(9) || repeat('0', rnd.n(9)::int), 1 + rnd.n(20)::int)::numeric
        ELSE round((random()::numeric - 0.5) * power(10::numeric, rnd.n(12)::int), rnd.n(6)::int) END $$;
CREATE FUNCTION rnd.real() RETURNS float8 LANGUAGE sql VOLATILE AS $$
    SELECT CASE rnd.n(5)::int
        WHEN 0 THEN rnd.one_of('0', '-0', 'NaN', 'Infinity', '-Infinity', '5e-324', '1.7976931348623157e308', '1e15', '1e16', '0.1')::float8
        WHEN 1 THEN (random() - 0.5) * power(10::float8, (rnd.n(600) - 300)::float8)
        WHEN 2 THEN rnd.n(1000000)::float8
        ELSE (random() - 0.5) * 1000 END $$;
CREATE FUNCTION rnd.moment() RETURNS timestamp LANGUAGE sql VOLATILE AS $$
    SELECT CASE rnd.n(6)::int
        WHEN 0 THEN rnd.one_of('infinity', '-infinity', '4713-01-02 BC', '0001-12-31 23:59:59.999999 BC', '294276-12-30', '2000-01-01')::timestamp
        WHEN 1 THEN timestamp '0001-01-01' + (random() - 0.5) * interval '4000 years'
        ELSE date_trunc(rnd.one_of('microseconds', 'milliseconds', 'second', 'day'), timestamp '1970-01-01' + random() * interval '100 years') END $$;
CREATE FUNCTION rnd.span() RETURNS interval LANGUAGE sql VOLATILE AS $$
    SELECT make_interval(months => (rnd.n(5) * (rnd.n(100) - 50))::int, days => (rnd.n(2) * (rnd.n(1000) - 500))::int, secs => (random() - 0.5) * rnd.n(200000)::float8) $$;
CREATE FUNCTION rnd.document(depth int DEFAULT 0) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    made jsonb;
BEGIN
    CASE rnd.n(CASE WHEN depth > 3 THEN 5 ELSE 9 END)::int
        WHEN 0 THEN RETURN 'null';
        WHEN 1 THEN RETURN to_jsonb(random() < 0.5);
        WHEN 2, 3 THEN RETURN to_jsonb(round((random()::numeric - 0.5) * power(10::numeric, rnd.n(30)::int), rnd.n(20)::int));
        WHEN 4 THEN RETURN to_jsonb(rnd.words());
        WHEN 5, 6 THEN
            made := '[]';
            FOR i IN 1..rnd.n(5) LOOP made := made || jsonb_build_array(rnd.document(depth + 1)); END LOOP;
        ELSE
            made := '{}';
            FOR i IN 1..rnd.n(5) LOOP made := made || jsonb_build_object(rnd.words(), rnd.document(depth + 1)); END LOOP;
    END CASE;
    RETURN made;
END $$;

-- A type and an expression that makes a value of it.
CREATE TABLE rnd.kinds (n serial, type text, value text);
INSERT INTO rnd.kinds (type, value) VALUES
    ('text', 'rnd.words()'), ('varchar(100)', 'left(rnd.words(), 100)'), ('char(9)', 'left(rnd.words(), 9)'), ('name', 'left(rnd.words(), 15)::name'),
    ('"char"', 'chr(rnd.n(128)::int + 1)::"char"'), ('bool', 'random() < 0.5'), ('int2', '(rnd.n(65536) - 32768)::int2'), ('int4', '(rnd.n(4294967296) - 2147483648)::int4'),
    ('int8', '(rnd.n(18446744073709551616) - 9223372036854775808)::int8'), ('int4', 'rnd.n(100)::int4'), ('oid', 'rnd.n(4294967296)::bigint::oid'),
    ('numeric', 'rnd.number()'), ('numeric(20,3)', 'round((random()::numeric - 0.5) * 1e16, 4)'), ('float4', 'CASE WHEN abs(rnd.real()) < 1 THEN rnd.n(1000)::float4 / 7 ELSE random()::float4 END'),
    ('float8', 'rnd.real()'), ('money', '((random() - 0.5) * 1e15)::numeric::money'), ('bytea', 'rnd.bytes()'), ('uuid', 'md5(random()::text)::uuid'),
    ('date', 'rnd.moment()::date'), ('timestamp', 'rnd.moment()'), ('timestamptz', 'rnd.moment() AT TIME ZONE ''UTC'''), ('timestamptz(2)', 'rnd.moment() AT TIME ZONE ''UTC'''),
    ('time', '(rnd.n(86400000001) * interval ''1 microsecond'')::time'), ('timetz', 'timetz ''12:34:56+05:30'' - rnd.n(80000) * interval ''1 second'''), ('interval', 'rnd.span()'),
    ('json', 'to_json(rnd.document())'), ('json', 'rnd.document()::text::json'), ('jsonb', 'rnd.document()'), ('xml', 'xmlelement(name a, xmlattributes(translate(rnd.one_of(''a'', ''"'', ''<''), '''', '''') AS b), rnd.one_of(''x'', ''&'', ''é''))'),
    ('inet', '(rnd.n(256) || ''.0.1.'' || rnd.n(256) || ''/'' || rnd.n(33))::inet'), ('cidr', '(rnd.n(256) || ''.0.0.0/8'')::cidr'), ('macaddr', 'substr(md5(random()::text), 1, 12)::macaddr'),
    ('bit(11)', 'rnd.n(2048)::int::bit(11)'), ('varbit', 'substr(repeat(rnd.n(2048)::int::bit(11)::text, 3), 1, rnd.n(33)::int)::varbit'), ('point', 'point(rnd.real(), rnd.real())'),
    ('circle', 'circle(point(rnd.real(), rnd.real()), abs(rnd.real()))'), ('int4range', 'int4range(rnd.n(10)::int, 10 + rnd.n(10)::int, rnd.one_of(''[]'', ''()'', ''(]''))'),
    ('tstzrange', 'tstzrange(NULL, rnd.moment() AT TIME ZONE ''UTC'')'), ('nummultirange', 'nummultirange(numrange(rnd.n(5), 5 + rnd.n(5)), numrange(20, NULL))'), ('tsvector', 'to_tsvector(''simple'', rnd.words())'),
    ('rnd.mood', '(enum_range(NULL::rnd.mood))[1 + rnd.n(8)::int]'), ('rnd.positive', '(1 + rnd.n(1000))::int'), ('rnd.span', 'rnd.span(LEAST(0, rnd.n(9)::float8), 10 + rnd.n(9)::float8)'),
    ('rnd.pair', 'ROW(rnd.n(9)::int, rnd.words(), rnd.moment() AT TIME ZONE ''UTC'', ARRAY[rnd.number(), NULL])::rnd.pair'), ('rnd.pair', 'ROW(NULL, NULL, NULL, NULL)::rnd.pair');

-- A server without libxml has no value of xml.
DO $$ BEGIN
    PERFORM xmlparse(CONTENT '<a/>');
EXCEPTION WHEN feature_not_supported THEN
    DELETE FROM rnd.kinds WHERE type = 'xml';
END $$;

CREATE PROCEDURE rnd.make(seed bigint) LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    columns text[] := '{}';
    values text[] := '{}';
    kind rnd.kinds;
    type text;
    value text;
BEGIN
    PERFORM setseed((seed % 1000003) / 1000003.0);
    PERFORM random() FROM generate_series(1, 3 + seed % 7);
    DROP TABLE IF EXISTS rnd.t, rnd.saved;
    FOR i IN 1..1 + rnd.n(10) LOOP
        SELECT * INTO kind FROM rnd.kinds ORDER BY n OFFSET rnd.n((SELECT count(*) FROM rnd.kinds))::int LIMIT 1;
        type := kind.type;
        value := kind.value;
        IF random() < 0.25 THEN
            type := type || '[]';
            value := CASE rnd.n(4)::int WHEN 0 THEN format('ARRAY[%s, NULL, %s]::%s', value, value, type)
                     WHEN 1 THEN format('ARRAY[ARRAY[%s, %s], ARRAY[NULL, %s]]::%s', value, value, value, type)
                     WHEN 2 THEN format('(''[-2:0]='' || ARRAY[%s, %s, %s]::%s::text)::%s', value, value, value, type, type)
                     ELSE format('''{}''::%s', type) END;
        END IF;
        columns := columns || format('%I %s', i || left(rnd.words(), 8), type);
        values := values || format('CASE WHEN random() < 0.15 THEN NULL ELSE %s END', value);
    END LOOP;
    EXECUTE format('CREATE TABLE rnd.t (%s)', array_to_string(columns, ', '));
    EXECUTE format('INSERT INTO rnd.t SELECT %s FROM generate_series(1, %s) AS row', array_to_string(values, ', '), CASE WHEN random() < 0.05 THEN 0 ELSE rnd.n(60) END);
    IF random() < 0.3 THEN
        EXECUTE (SELECT format('ALTER TABLE rnd.t DROP COLUMN %I', attname) FROM pg_attribute WHERE attrelid = 'rnd.t'::regclass AND attnum > 0 LIMIT 1);
    END IF;
    IF random() < 0.3 THEN
        ALTER TABLE rnd.t ADD "added later" text DEFAULT E'default, "x"\\';
    END IF;
END $$;
