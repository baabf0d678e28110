-- Replaces the functions that policies and column defaults call by those of pg_jwks, all or nothing. As a superuser:
--   psql -d app -f replace_functions.sql                                                  Supabase
--   psql -d app -v drop='DROP EXTENSION pg_session_jwt CASCADE' -f replace_functions.sql  pg_session_jwt
-- Policies and defaults are made again as they were. It refuses where anything else would be lost, a view for example:
-- drop that beforehand, and make it again afterwards.
\set ON_ERROR_STOP on
\if :{?drop}
\else
    \set drop 'DROP FUNCTION auth.uid(), auth.role(), auth.email(), auth.jwt() CASCADE'
\endif

BEGIN;
-- With nothing else in the path, names are written out with their schemas.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TEMP TABLE dependents ON COMMIT DROP AS
    SELECT DISTINCT classid, objid, objsubid, pg_describe_object(classid, objid, objsubid) AS object
      FROM pg_depend
     WHERE NOT EXISTS (SELECT FROM pg_depend member
                        WHERE member.classid = pg_depend.classid AND member.objid = pg_depend.objid
                          AND member.deptype = 'e');

CREATE TEMP TABLE definitions ON COMMIT DROP AS
    SELECT 'pg_policy'::regclass AS classid, pol.oid AS objid,
           format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', polname, polrelid::regclass,
                  CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                  CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                              ELSE 'ALL' END,
                  (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE role::regrole::text END, ', ')
                     FROM unnest(polroles) role))
           || coalesce(' USING (' || pg_get_expr(polqual, polrelid) || ')', '')
           || coalesce(' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')', '')
           || coalesce(format('; COMMENT ON POLICY %I ON %s IS %L', polname, polrelid::regclass,
                              obj_description(pol.oid, 'pg_policy')), '') AS statement
      FROM pg_policy pol
    UNION ALL
    SELECT 'pg_attrdef'::regclass, def.oid,
           format('ALTER TABLE %s ALTER %I SET DEFAULT %s', adrelid::regclass, attname, pg_get_expr(adbin, adrelid))
      FROM pg_attrdef def JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
     WHERE attgenerated = '';

:drop;
CREATE EXTENSION pg_jwks;

DO $$
DECLARE
    definition text;
    lost text;
BEGIN
    FOR definition IN
        SELECT statement FROM definitions
         WHERE CASE classid WHEN 'pg_policy'::regclass THEN objid NOT IN (SELECT oid FROM pg_policy)
                            ELSE objid NOT IN (SELECT oid FROM pg_attrdef) END
    LOOP
        EXECUTE definition;
    END LOOP;

    SELECT string_agg(object, ', ') INTO lost
      FROM (SELECT object FROM dependents
            EXCEPT SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend) AS gone
     WHERE object NOT LIKE 'extension %';
    IF lost IS NOT NULL THEN
        RAISE EXCEPTION 'this would drop %', lost USING HINT = 'Drop it beforehand, and make it again afterwards.';
    END IF;
END $$;
COMMIT;
