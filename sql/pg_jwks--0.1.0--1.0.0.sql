-- From 0.1.0 to 1.0.0.

\echo Use "ALTER EXTENSION pg_jwks UPDATE" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- The view of 0.1.0 could have been made to call a function that stood in schema auth beforehand.
DROP VIEW auth.jwt_stats;
DROP FUNCTION auth.jwks();

CREATE FUNCTION auth.jwks(OUT issuer text, OUT kid text, OUT kty text, OUT alg text, OUT use text, OUT source text,
        OUT fetched_at timestamptz, OUT refresh_at timestamptz, OUT expires_at timestamptz, OUT stale boolean,
        OUT last_error text, OUT serves_until timestamptz, OUT next_fetch timestamptz, OUT problem text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'jwks_wrapper';
COMMENT ON FUNCTION auth.jwks() IS 'The keys in use and those that cannot be used, and how their last fetch went';

CREATE VIEW auth.jwt_stats AS
    SELECT coalesce(pg_catalog.sum(value) FILTER (WHERE counter OPERATOR(pg_catalog.=) 'accepted'), 0)::bigint AS accepted,
           coalesce(pg_catalog.sum(value) FILTER (WHERE counter OPERATOR(pg_catalog.=) 'remembered'), 0)::bigint AS cache_hits,
           coalesce(pg_catalog.sum(value) FILTER (WHERE counter OPERATOR(pg_catalog.=) 'rejected'), 0)::bigint AS rejected,
           coalesce(pg_catalog.jsonb_object_agg(reason, value)
                        FILTER (WHERE counter OPERATOR(pg_catalog.=) 'rejected' AND value OPERATOR(pg_catalog.>) 0),
                    '{}') AS rejected_by_reason,
           coalesce(pg_catalog.sum(value) FILTER (WHERE counter OPERATOR(pg_catalog.=) 'fetches'), 0)::bigint AS fetches,
           coalesce(pg_catalog.sum(value) FILTER (WHERE counter OPERATOR(pg_catalog.=) 'fetch_failures'), 0)::bigint AS fetch_failures,
           (SELECT pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.min(fetched_at) FROM auth.jwks()) AS key_age
      FROM auth.jwt_counters();
COMMENT ON VIEW auth.jwt_stats IS
    'What became of tokens and fetches: in the cluster where the library is preloaded, otherwise in this backend';
REVOKE ALL ON FUNCTION auth.jwks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth.jwks() TO pg_monitor;
GRANT SELECT ON auth.jwt_stats TO pg_monitor;
ALTER FUNCTION auth.jwt_explain(text) ROWS 13;

CREATE FUNCTION auth.assume_identity(claims jsonb, is_local boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'assume_identity_wrapper';
COMMENT ON FUNCTION auth.assume_identity(jsonb, boolean) IS
    'Makes claims the identity of the session, or of the transaction where is_local, without a token; auth.actor() names the session user';
REVOKE ALL ON FUNCTION auth.assume_identity(jsonb, boolean) FROM PUBLIC;

CREATE FUNCTION auth.actor() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_actor';
COMMENT ON FUNCTION auth.actor() IS 'Claim act.sub: who acts for the user; NULL where the user himself does';

CREATE FUNCTION auth.jwt_session_list(OUT pid integer, OUT issuer text, OUT subject text, OUT tenant text,
        OUT session text, OUT token_id text, OUT actor text, OUT origin text, OUT is_local boolean,
        OUT since timestamptz, OUT expires_at timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'jwt_session_list_wrapper';
COMMENT ON FUNCTION auth.jwt_session_list() IS 'What the view auth.jwt_sessions shows';

CREATE VIEW auth.jwt_sessions AS
    SELECT pid, issuer, subject, tenant, session, token_id, actor, origin, is_local, since, expires_at
      FROM auth.jwt_session_list();
COMMENT ON VIEW auth.jwt_sessions IS
    'The sessions of this database that have an identity; the library must be preloaded';
REVOKE ALL ON FUNCTION auth.jwt_session_list() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth.jwt_session_list() TO pg_read_all_stats;
GRANT SELECT ON auth.jwt_sessions TO pg_read_all_stats;

-- Revocations

CREATE TABLE auth.revocations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea CHECK (pg_catalog.octet_length(token_hash) OPERATOR(pg_catalog.=) 32),
    subject text,
    session text,
    token_id text,
    issuer text,
    issued_before timestamptz NOT NULL DEFAULT pg_catalog.now(),
    reason text,
    revoked_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    revoked_by name NOT NULL DEFAULT session_user,
    logout_token_hash bytea UNIQUE,
    -- What an entry is found by: the most particular of what it names, as far as an index takes.
    key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (pg_catalog.left(
        CASE WHEN token_hash IS NOT NULL THEN 'token:'::text OPERATOR(pg_catalog.||) pg_catalog.encode(token_hash, 'hex')
             WHEN token_id IS NOT NULL THEN 'token_id:'::text OPERATOR(pg_catalog.||) token_id
             WHEN session IS NOT NULL THEN 'session:'::text OPERATOR(pg_catalog.||) session
             WHEN subject IS NOT NULL THEN 'subject:'::text OPERATOR(pg_catalog.||) subject
             WHEN issuer IS NOT NULL THEN 'issuer:'::text OPERATOR(pg_catalog.||) issuer END, 200)) STORED
);
COMMENT ON TABLE auth.revocations IS
    'Tokens that were revoked: auth.revoke() makes an entry, DELETE takes it back';
COMMENT ON COLUMN auth.revocations.token_hash IS 'SHA-256 of one token';
COMMENT ON COLUMN auth.revocations.subject IS 'Claim that is the user';
COMMENT ON COLUMN auth.revocations.session IS 'Claim sid, else session_id';
COMMENT ON COLUMN auth.revocations.token_id IS 'Claim jti';
COMMENT ON COLUMN auth.revocations.issuer IS 'Claim iss';
COMMENT ON COLUMN auth.revocations.issued_before IS
    'Tokens with a later iat are not meant, unless the entry names one token';
COMMENT ON COLUMN auth.revocations.logout_token_hash IS 'SHA-256 of iss and jti of the logout token that made the entry';
COMMENT ON COLUMN auth.revocations.key IS 'What the entry is found by';
CREATE INDEX revocations_key ON auth.revocations (key);
SELECT pg_catalog.pg_extension_config_dump('auth.revocations', '');
SELECT pg_catalog.pg_extension_config_dump('auth.revocations_id_seq', '');
REVOKE ALL ON auth.revocations FROM PUBLIC;

CREATE FUNCTION auth.revocation_changed() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'pg_jwks_revocation_changed';
COMMENT ON FUNCTION auth.revocation_changed() IS 'Tells all sessions that auth.revocations has changed';
REVOKE ALL ON FUNCTION auth.revocation_changed() FROM PUBLIC;

-- A trigger for each row: one for each statement does not fire for what logical replication applies.
CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON auth.revocations
    FOR EACH ROW EXECUTE FUNCTION auth.revocation_changed();
ALTER TABLE auth.revocations ENABLE ALWAYS TRIGGER announce;

CREATE FUNCTION auth.jwt_hash(token text) RETURNS bytea
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jwt_hash_wrapper';
COMMENT ON FUNCTION auth.jwt_hash(text) IS 'SHA-256 of a JWT, by which auth.revocations knows it; NULL for NULL';
REVOKE ALL ON FUNCTION auth.jwt_hash(text) FROM PUBLIC;

CREATE FUNCTION auth.revoke(token text DEFAULT NULL, subject text DEFAULT NULL, session text DEFAULT NULL,
        token_id text DEFAULT NULL, issuer text DEFAULT NULL, issued_before timestamptz DEFAULT pg_catalog.now(),
        reason text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    hash bytea := auth.jwt_hash(token);
    entry bigint;
BEGIN
    IF num_nonnulls(token, subject, session, token_id, issuer) = 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'nothing to revoke',
            DETAIL = 'Of token, subject, session, token_id and issuer, at least one must be given.',
            HINT = 'Name the arguments: SELECT auth.revoke(subject => ''...'').';
    END IF;
    INSERT INTO auth.revocations (token_hash, subject, session, token_id, issuer, issued_before, reason)
    VALUES (hash, revoke.subject, revoke.session, revoke.token_id, revoke.issuer,
            coalesce(revoke.issued_before, now()), revoke.reason)
    RETURNING id INTO entry;
    RETURN entry;
END
$function$;
COMMENT ON FUNCTION auth.revoke(text, text, text, text, text, timestamptz, text) IS
    'Revokes tokens: from its commit on they are refused, and the identities made from them end';
REVOKE ALL ON FUNCTION auth.revoke(text, text, text, text, text, timestamptz, text) FROM PUBLIC;

CREATE FUNCTION auth.jwt_logout_verified(logout_token text, OUT issuer text, OUT subject text, OUT session text,
        OUT token_hash bytea) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'jwt_logout_verified_wrapper';
COMMENT ON FUNCTION auth.jwt_logout_verified(text) IS 'Whom an OpenID Connect logout token logs out';
REVOKE ALL ON FUNCTION auth.jwt_logout_verified(text) FROM PUBLIC;

CREATE FUNCTION auth.jwt_logout(logout_token text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    named record;
    entry bigint;
BEGIN
    SELECT * INTO STRICT named FROM auth.jwt_logout_verified(logout_token);
    INSERT INTO auth.revocations (issuer, subject, session, logout_token_hash, reason)
    VALUES (named.issuer, named.subject, named.session, named.token_hash, 'back-channel logout')
    ON CONFLICT DO NOTHING RETURNING id INTO entry;
    IF entry IS NULL THEN
        RAISE invalid_authorization_specification USING MESSAGE = 'JWT rejected: logout token used before',
            DETAIL = 'Each logout token counts once, as its "jti" says.';
    END IF;
    RETURN entry;
END
$function$;
COMMENT ON FUNCTION auth.jwt_logout(text) IS
    'Revokes the session or user that an OpenID Connect Back-Channel Logout token names';

DROP FUNCTION auth.enable_tenant_isolation(regclass, name);
CREATE FUNCTION auth.enable_tenant_isolation(tbl regclass, tenant_column name DEFAULT 'tenant_id', force boolean DEFAULT true)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    -- Both as in auth.disable_tenant_isolation.
    own_default CONSTANT text := '^\(?(public\.get_current_user_tenant_id\(\)|auth\.tenant_id\(\))\)?(::[a-z ]+)?$';
    note CONSTANT text := 'Made by auth.enable_tenant_isolation. Before: ';
    relation record;
    tenant record;
    policy record;
    parent text;
    current_tenant text;
    condition text;
    exists_already boolean;
    others boolean;
    revokes text;
BEGIN
    IF tbl IS NULL OR tenant_column IS NULL OR force IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'table, tenant column and force must not be null';
    END IF;
    SELECT format('%I.%I', nspname, relname) AS name, nspname AS namespace, relkind AS kind, relowner AS owner,
           relpersistence AS persistence, relispartition AS is_partition
      INTO relation FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = tbl;
    IF NOT FOUND THEN
        RAISE undefined_table USING MESSAGE = format('relation with OID %s does not exist', tbl::oid);
    END IF;

    IF relation.namespace IN ('pg_catalog', 'information_schema', 'pg_toast') THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s belongs to the system', relation.name);
    END IF;
    IF NOT pg_has_role(relation.owner, 'USAGE') THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be owner of table %s', relation.name),
            HINT = format('Its owner is %I.', pg_get_userbyid(relation.owner));
    END IF;
    IF relation.kind NOT IN ('r', 'p') THEN
        RAISE wrong_object_type USING MESSAGE = format('%s is not a table', relation.name),
            DETAIL = 'Row-level security is for tables and partitioned tables only.',
            HINT = CASE relation.kind
                       WHEN 'v' THEN 'Isolate the tables that the view reads, and give the view the option security_invoker.'
                       WHEN 'm' THEN 'Isolate the tables that it reads, and use a view with the option security_invoker instead.'
                       WHEN 'f' THEN 'Isolate the table on its own server.'
                       ELSE 'Name the table whose rows belong to tenants.'
                   END;
    END IF;
    IF relation.is_partition THEN
        SELECT format('%I.%I', nspname, relname) INTO parent
          FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = pg_partition_root(tbl);
        RAISE wrong_object_type USING MESSAGE = format('%s is a partition', relation.name),
            DETAIL = format('Rows are read and written through %s, whose policies hold.', parent),
            HINT = format('SELECT auth.enable_tenant_isolation(%L, %L);', parent, tenant_column);
    END IF;
    IF relation.persistence = 't' THEN
        RAISE wrong_object_type USING MESSAGE = format('%s is a temporary table', relation.name),
            DETAIL = 'Other sessions cannot read it.';
    END IF;
    IF EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = tbl AND deptype = 'e') THEN
        RAISE wrong_object_type USING MESSAGE = format('%s belongs to an extension', relation.name);
    END IF;

    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', relation.name);
    IF to_regclass(relation.name) IS DISTINCT FROM tbl THEN
        RAISE serialization_failure USING MESSAGE = format('%s was renamed or dropped meanwhile', relation.name);
    END IF;

    SELECT attnum AS number, attnotnull AS not_null, coalesce(nullif(typbasetype, 0), atttypid) AS type,
           format_type(atttypid, atttypmod) AS type_name, attidentity <> '' OR attgenerated <> '' AS is_computed,
           coalesce(pg_get_expr(adbin, adrelid), typdefault) AS "default",
           coalesce((SELECT NOT collisdeterministic FROM pg_collation l WHERE l.oid = attcollation), false) AS is_loose
      INTO tenant
      FROM pg_attribute JOIN pg_type t ON t.oid = atttypid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = tbl AND attname = tenant_column AND attnum > 0 AND NOT attisdropped;
    IF NOT FOUND THEN
        RAISE undefined_column
            USING MESSAGE = format('column %I of table %s does not exist', tenant_column, relation.name),
            HINT = 'Name the column that holds the tenant as the second argument.';
    END IF;
    current_tenant := CASE
        WHEN tenant.type = 'uuid'::regtype THEN 'public.get_current_user_tenant_id()'
        WHEN tenant.type IN ('text'::regtype, 'varchar'::regtype) THEN 'auth.tenant_id()'
        WHEN tenant.type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
            THEN format('auth.tenant_id()::%s', format_type(tenant.type, NULL))
    END;
    IF current_tenant IS NULL THEN
        RAISE datatype_mismatch
            USING MESSAGE = format('column %I of table %s has type %s', tenant_column, relation.name, tenant.type_name),
            DETAIL = 'A tenant is a uuid, text, varchar, smallint, integer or bigint.';
    END IF;
    IF tenant.is_loose THEN
        RAISE feature_not_supported
            USING MESSAGE = format('column %I of table %s has a nondeterministic collation', tenant_column, relation.name),
            DETAIL = 'Tenants whose names are not the same could compare as equal.';
    END IF;

    SELECT polpermissive AS permissive, substring(description, '^' || replace(note, '.', '\.') || '(\{.*\})$')::jsonb AS before,
           EXISTS (SELECT FROM pg_depend
                    WHERE classid = 'pg_policy'::regclass AND objid = p.oid
                      AND refclassid = 'pg_class'::regclass AND refobjid = tbl AND refobjsubid = tenant.number) AS same_column
      INTO policy
      FROM pg_policy p LEFT JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_policy'::regclass
     WHERE polrelid = tbl AND polname = 'tenant_isolation';
    exists_already := FOUND;
    IF exists_already AND policy.before IS NULL THEN
        RAISE duplicate_object USING MESSAGE = format('table %s has another policy tenant_isolation', relation.name),
            DETAIL = 'Its comment is not one of auth.enable_tenant_isolation.',
            HINT = format('ALTER POLICY tenant_isolation ON %s RENAME TO other_name;', relation.name);
    ELSIF exists_already AND NOT policy.same_column THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('table %s is isolated by another column', relation.name),
            HINT = format('SELECT auth.disable_tenant_isolation(%L);', relation.name);
    END IF;

    -- Permissive policies are alternatives. Beside one, only a restrictive policy isolates; without one, a restrictive
    -- policy shows nobody anything.
    others := EXISTS (SELECT FROM pg_policy WHERE polrelid = tbl AND polpermissive AND polname <> 'tenant_isolation');
    condition := format('TO PUBLIC USING (%1$I = (SELECT %2$s)) WITH CHECK (%1$I = (SELECT %2$s))', tenant_column, current_tenant);
    IF exists_already AND policy.permissive <> others THEN
        EXECUTE format('ALTER POLICY tenant_isolation ON %s %s', relation.name, condition);
    ELSE
        IF exists_already THEN
            EXECUTE format('DROP POLICY tenant_isolation ON %s', relation.name);
        ELSE
            SELECT jsonb_build_object('row security', relrowsecurity, 'forced', relforcerowsecurity,
                                      'default', tenant."default" IS NOT NULL OR tenant.is_computed) AS before
              INTO policy FROM pg_class WHERE oid = tbl;
            IF NOT (policy.before -> 'default')::boolean THEN
                EXECUTE format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', relation.name, tenant_column, current_tenant);
            END IF;
        END IF;
        EXECUTE format('CREATE POLICY tenant_isolation ON %s AS %s %s', relation.name,
                       CASE WHEN others THEN 'RESTRICTIVE' ELSE 'PERMISSIVE' END, condition);
        EXECUTE format('COMMENT ON POLICY tenant_isolation ON %s IS %L', relation.name, note || policy.before);
        IF others THEN
            RAISE NOTICE USING
                MESSAGE = format('table %s has permissive policies, which still say who sees what within a tenant', relation.name);
        END IF;
    END IF;
    EXECUTE format('ALTER TABLE ONLY %s ENABLE ROW LEVEL SECURITY', relation.name);
    EXECUTE format('ALTER TABLE ONLY %s %s ROW LEVEL SECURITY', relation.name, CASE WHEN force THEN 'FORCE' ELSE 'NO FORCE' END);

    IF force AND EXISTS (SELECT FROM pg_roles WHERE oid = relation.owner AND rolcanlogin AND NOT rolsuper AND NOT rolbypassrls) THEN
        RAISE NOTICE USING
            MESSAGE = format('table %s shows its owner %I no rows without a tenant either', relation.name, pg_get_userbyid(relation.owner)),
            DETAIL = 'Migrations and jobs of the owner would change no rows, and not be told.',
            HINT = format('Run them as a role with BYPASSRLS, or SELECT auth.enable_tenant_isolation(%L, %L, force => false);',
                          relation.name, tenant_column);
    END IF;
    IF NOT tenant.is_computed AND tenant."default" !~ own_default THEN
        RAISE NOTICE USING
            MESSAGE = format('column %I of table %s keeps its default %s', tenant_column, relation.name, tenant."default"),
            HINT = format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s;', relation.name, tenant_column, current_tenant);
    END IF;
    IF NOT tenant.not_null THEN
        RAISE NOTICE USING
            MESSAGE = format('column %I of table %s may be null, and nobody sees rows without tenant', tenant_column, relation.name),
            HINT = format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', relation.name, tenant_column);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_index
                    WHERE indrelid = tbl AND indkey[0] = tenant.number AND indpred IS NULL AND indisvalid) THEN
        RAISE NOTICE USING MESSAGE = format('table %s has no index that begins with column %I', relation.name, tenant_column),
            HINT = format('CREATE INDEX ON %s (%I);', relation.name, tenant_column);
    END IF;
    SELECT string_agg(DISTINCT format('REVOKE ALL ON %I.%I FROM %s;', nspname, relname,
                                      CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END), ' ')
      INTO revokes
      FROM pg_partition_tree(tbl) p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = relnamespace,
           aclexplode(relacl) WHERE c.oid <> tbl AND grantee <> relowner;
    IF revokes IS NOT NULL THEN
        RAISE NOTICE USING MESSAGE = format('policies of table %s do not hold for who reads its partitions directly', relation.name),
            HINT = revokes;
    END IF;
END
$function$;
COMMENT ON FUNCTION auth.enable_tenant_isolation(regclass, name, boolean) IS
    'Enables row-level security, for the owner too unless force is false, with a policy that shows and accepts rows of the current tenant only, '
    'which becomes the default of the column. The policy is restrictive where the table has permissive ones, which '
    'would otherwise let rows of other tenants through; after adding one, call this again, as auth.rls_lint says. Idempotent';

DROP FUNCTION auth.disable_tenant_isolation(regclass);
CREATE FUNCTION auth.disable_tenant_isolation(tbl regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    -- Both as in auth.enable_tenant_isolation.
    own_default CONSTANT text := '^\(?(public\.get_current_user_tenant_id\(\)|auth\.tenant_id\(\))\)?(::[a-z ]+)?$';
    note CONSTANT text := 'Made by auth.enable_tenant_isolation. Before: ';
    relation record;
    policy record;
    tenant_column name;
BEGIN
    IF tbl IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'table must not be null';
    END IF;
    SELECT format('%I.%I', nspname, relname) AS name, relowner AS owner
      INTO relation FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = tbl;
    IF NOT FOUND THEN
        RAISE undefined_table USING MESSAGE = format('relation with OID %s does not exist', tbl::oid);
    END IF;
    IF NOT pg_has_role(relation.owner, 'USAGE') THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be owner of table %s', relation.name),
            HINT = format('Its owner is %I.', pg_get_userbyid(relation.owner));
    END IF;
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = tbl AND polname = 'tenant_isolation') THEN
        RAISE NOTICE USING MESSAGE = format('tenant isolation is not enabled for %s', relation.name);
        RETURN;
    END IF;

    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', relation.name);
    IF to_regclass(relation.name) IS DISTINCT FROM tbl THEN
        RAISE serialization_failure USING MESSAGE = format('%s was renamed or dropped meanwhile', relation.name);
    END IF;
    SELECT p.oid, substring(description, '^' || replace(note, '.', '\.') || '(\{.*\})$')::jsonb AS before
      INTO policy
      FROM pg_policy p LEFT JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_policy'::regclass
     WHERE polrelid = tbl AND polname = 'tenant_isolation';
    IF policy.before IS NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('what table %s was before tenant isolation is not known', relation.name),
            DETAIL = 'The comment of policy tenant_isolation is not one of auth.enable_tenant_isolation.',
            HINT = format('DROP POLICY tenant_isolation ON %s;', relation.name);
    END IF;

    -- A default that somebody else has set meanwhile stays.
    IF NOT (policy.before -> 'default')::boolean THEN
        FOR tenant_column IN
            SELECT attname
              FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
                   JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
             WHERE classid = 'pg_policy'::regclass AND objid = policy.oid
               AND refclassid = 'pg_class'::regclass AND refobjid = tbl AND pg_get_expr(adbin, adrelid) ~ own_default
        LOOP
            EXECUTE format('ALTER TABLE ONLY %s ALTER COLUMN %I DROP DEFAULT', relation.name, tenant_column);
        END LOOP;
    END IF;
    EXECUTE format('DROP POLICY tenant_isolation ON %s', relation.name);
    EXECUTE format('ALTER TABLE ONLY %s %s ROW LEVEL SECURITY', relation.name,
                   CASE WHEN (policy.before -> 'forced')::boolean THEN 'FORCE' ELSE 'NO FORCE' END);
    IF NOT (policy.before -> 'row security')::boolean THEN
        EXECUTE format('ALTER TABLE ONLY %s DISABLE ROW LEVEL SECURITY', relation.name);
        IF EXISTS (SELECT FROM pg_policy WHERE polrelid = tbl) THEN
            RAISE WARNING USING MESSAGE = format('policies of table %s have no effect', relation.name),
                DETAIL = 'Row-level security was off before tenant isolation was enabled, and is off again.',
                HINT = format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', relation.name);
        END IF;
    END IF;
END
$function$;
COMMENT ON FUNCTION auth.disable_tenant_isolation(regclass) IS
    'Makes the table what it was before auth.enable_tenant_isolation: row-level security, its force, the column''s default';

-- What is unsafe or slow in this database's row-level security. Each rule is one common table expression.

DROP FUNCTION auth.rls_lint();
CREATE FUNCTION auth.rls_lint(OUT severity text, OUT object text, OUT problem text, OUT fix text) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $function$
WITH RECURSIVE
-- This extension and its functions.
extension AS (SELECT oid, extowner, extnamespace FROM pg_extension WHERE extname = 'pg_jwks'),
members AS (
    SELECT objid AS oid FROM pg_depend
     WHERE classid = 'pg_proc'::regclass AND deptype = 'e' AND refclassid = 'pg_extension'::regclass
       AND refobjid = (SELECT oid FROM extension)),
-- Tables and views of users.
relations AS (
    SELECT c.oid, format('%I.%I', nspname, relname) AS name, relkind AS kind, relowner AS owner, relispartition AS is_partition,
           relrowsecurity AS has_rls, relforcerowsecurity AS forced, relacl AS acl, reloptions AS options
      FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'p', 'v', 'm') AND relpersistence <> 't'
       AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')),
-- What takes from everybody but the owner what was granted on a relation.
grants AS (
    SELECT r.oid, string_agg(DISTINCT format('REVOKE ALL ON %s FROM %s;', r.name,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END), ' ') AS revokes
      FROM relations r, LATERAL (
               SELECT grantee FROM aclexplode(r.acl)
               UNION SELECT grantee FROM pg_attribute, aclexplode(attacl) WHERE attrelid = r.oid AND NOT attisdropped) AS privilege
     WHERE grantee <> r.owner
     GROUP BY r.oid),
-- The membership table and its tenant column, from a setting of the form schema.table (user_column, tenant_column).
membership AS (
    SELECT to_regclass(substring(lookup, '^((?:"(?:[^"]|"")*"|[^"(])*)\(')) AS oid,
           (parse_ident(substring(lookup, ',\s*("(?:[^"]|"")*"|[^\s")]+)\s*\)\s*$')))[1] AS tenant_column
      FROM coalesce(nullif(current_setting('pg_jwks.tenant_lookup', true), ''), 'public.users (id, tenant_id)') AS lookup),
-- The tenant column of each table that has one, and the current tenant in its type.
tenants AS (
    SELECT DISTINCT ON (r.oid) r.oid, attname AS column_name, attnum AS number,
           CASE WHEN type = 'uuid'::regtype THEN format('%I = (SELECT public.get_current_user_tenant_id())', attname)
                WHEN type IN ('text'::regtype, 'varchar'::regtype) THEN format('%I = (SELECT auth.tenant_id())', attname)
                WHEN type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
                    THEN format('%I = (SELECT auth.tenant_id()::%s)', attname, format_type(type, NULL))
           END AS condition
      FROM membership m, relations r JOIN pg_attribute a ON attrelid = r.oid JOIN pg_type t ON t.oid = atttypid,
           coalesce(nullif(typbasetype, 0), atttypid) AS type
     WHERE attname IN ('tenant_id', m.tenant_column) AND attnum > 0 AND NOT attisdropped AND kind IN ('r', 'p')
     ORDER BY r.oid, attname <> m.tenant_column),
-- The policies, their expressions also without the texts of literals and quoted names, which could look like anything.
policies AS (
    SELECT p.oid, polname AS policy_name, polrelid AS relation, r.name AS table_name, r.has_rls, polpermissive AS permissive,
           polcmd AS command, polroles AS roles, format('policy %I on table %s', polname, r.name) AS object, using_text, check_text,
           regexp_replace(using_text, $$'(?:[^']|'')*'|"(?:[^"]|"")*"$$, '''''', 'g') AS using_code,
           regexp_replace(check_text, $$'(?:[^']|'')*'|"(?:[^"]|"")*"$$, '''''', 'g') AS check_code
      FROM pg_policy p JOIN relations r ON r.oid = polrelid,
           LATERAL (SELECT pg_get_expr(polqual, polrelid) AS using_text, pg_get_expr(polwithcheck, polrelid) AS check_text) AS texts),
-- Whether they say anything of who asks: by a function or a subquery of users, or a role.
identities AS (
    SELECT oid, using_code ~ mention AS in_using, check_code ~ mention AS in_check
      FROM policies, (VALUES ('''''\(|[a-z0-9_]\.(?:[a-z0-9_$]+|'''')\(|current_setting\('
                              '|\m(?:CURRENT_USER|SESSION_USER|CURRENT_ROLE|SELECT)\M')) AS v (mention)),
-- Commands that a restrictive policy about the identity narrows for everybody, on each table.
narrowed AS (
    SELECT relation, command, in_using AS reads, coalesce(in_check, in_using) AS writes
      FROM policies JOIN identities USING (oid) WHERE NOT permissive AND 0 = ANY (roles)),
-- What of an expression runs for each row: inner parentheses become braces, and subqueries without tables vanish.
unwrapped AS (
    SELECT oid, concat_ws(' ', using_code, check_code) AS code FROM policies
    UNION ALL
    SELECT oid, regexp_replace(regexp_replace(code, '\(\s*SELECT (?:(?!\mFROM\M)[^()])*\)', '', 'g'),
                               '\((?!\s*SELECT (?:(?!\mFROM\M)[^()])*\))([^()]*)\)', '{\1}', 'g')
      FROM unwrapped WHERE code ~ '\([^()]*\)'),
-- Settings that policies read, and that everybody can change; those of pg_jwks are safe where the library is preloaded.
variables AS (
    SELECT oid, array_agg(DISTINCT name) AS names
      FROM policies, regexp_matches(concat_ws(' ', using_text, check_text), $$current_setting\('((?:[^']|'')*)'$$, 'g') AS match,
           lower(match[1]) AS name
     WHERE name <> 'role'
       AND NOT EXISTS (SELECT FROM pg_settings s WHERE lower(s.name) = lower(match[1]) AND context NOT IN ('user', 'backend'))
       AND NOT EXISTS (SELECT FROM pg_settings s
                        WHERE s.name = 'pg_jwks.claim_settings' AND context = 'postmaster'
                          AND (lower(match[1]) LIKE 'pg\_jwks.%' OR EXISTS (
                              SELECT FROM regexp_matches(setting, '(?:^|,)\s*([a-z_][a-z0-9_.$]*)\s*=', 'gi') AS defined
                               WHERE lower(defined[1]) = lower(match[1]))))
     GROUP BY oid),
-- Views on tables with RLS, on views of such too.
views AS (
    SELECT r.oid, r.oid AS base FROM relations r WHERE kind IN ('r', 'p') AND has_rls
    UNION
    SELECT v.oid, views.base
      FROM views JOIN pg_depend d ON refclassid = 'pg_class'::regclass AND refobjid = views.oid AND classid = 'pg_rewrite'::regclass
           JOIN pg_rewrite w ON w.oid = d.objid JOIN relations v ON v.oid = ev_class AND v.oid <> views.oid AND v.kind IN ('v', 'm')),

-- A table with a tenant column and neither RLS nor policies. The membership table needs none while nobody else reads it.
without_rls AS (
    SELECT 'error', format('table %s', name), format('has column %I, but no row-level security', column_name),
           CASE WHEN condition IS NULL THEN format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', name)
                ELSE format('SELECT auth.enable_tenant_isolation(%L, %L);', name, column_name) END
      FROM relations r JOIN tenants USING (oid)
     WHERE NOT has_rls AND NOT is_partition AND NOT EXISTS (SELECT FROM policies WHERE relation = r.oid)
       AND NOT (oid IN (SELECT oid FROM membership WHERE oid IS NOT NULL) AND oid NOT IN (SELECT oid FROM grants))),
-- Policies without effect.
not_enabled AS (
    SELECT DISTINCT 'error', format('table %s', table_name), 'has policies, but row-level security is not enabled',
           format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', table_name)
      FROM policies WHERE NOT has_rls),
-- RLS without permissive policy shows nothing.
without_policy AS (
    SELECT 'warning', format('table %s', name),
           'has row-level security without a permissive policy, so that nobody whom it binds sees a row',
           CASE WHEN condition IS NULL THEN format('CREATE POLICY nobody ON %s USING (false);', name)
                ELSE format('SELECT auth.enable_tenant_isolation(%L, %L);', name, column_name) END
      FROM relations r LEFT JOIN tenants USING (oid)
     WHERE has_rls AND NOT EXISTS (SELECT FROM policies WHERE relation = r.oid AND permissive)),
-- An owner who can connect, also as a member of the owning role, and whom RLS does not bind.
not_forced AS (
    SELECT 'warning', format('table %s', name), format('does not bind its owner %I, who can connect', pg_get_userbyid(owner)),
           format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', name)
      FROM relations
     WHERE has_rls AND NOT forced
       AND owner IN (SELECT o.owner
                       FROM (SELECT DISTINCT owner FROM relations WHERE has_rls AND NOT forced) AS o
                            JOIN pg_roles ON pg_has_role(pg_roles.oid, o.owner, 'USAGE')
                      WHERE rolcanlogin AND NOT rolsuper AND NOT rolbypassrls)),
-- Partitions that can be read past the policies of their table.
direct_partitions AS (
    SELECT 'error', format('table %s', r.name),
           format('is a partition that others can read without the policies of %s', root.name), revokes
      FROM relations r JOIN grants USING (oid) JOIN relations root ON root.oid = pg_partition_root(r.oid)
     WHERE r.is_partition AND NOT r.has_rls AND root.has_rls),
-- Calls that cost much in each row; in a subquery they are made once. Those with arguments from the row stay.
bare_calls AS (
    SELECT 'notice', object, 'calls a function for each row that is needed once a statement',
           format('ALTER POLICY %I ON %s', policy_name, table_name)
               || CASE WHEN wrapped_using <> using_text THEN format(' USING (%s)', wrapped_using) ELSE '' END
               || CASE WHEN wrapped_check <> check_text THEN format(' WITH CHECK (%s)', wrapped_check) ELSE '' END || ';'
      FROM policies JOIN unwrapped USING (oid),
           (VALUES ($$((?<!SELECT )(?:auth\.(?:jwt|session|claim|has_scope|has_role|organization|tenant_ids)|\mcurrent_setting)$$
                    || $$\((?:[^()'a-z]|ARRAY|VARIADIC|::text|true|false|'(?:[^']|'')*')*\)(?: ->>? '(?:[^']|'')*'::text)?)$$)) AS v (call),
           LATERAL (SELECT regexp_replace(using_text, call, '(SELECT \1)', 'g') AS wrapped_using,
                           regexp_replace(check_text, call, '(SELECT \1)', 'g') AS wrapped_check) AS wrapped
     WHERE code !~ '\([^()]*\)' AND code ~ '(auth\.(jwt|session|claim|has_scope|has_role|organization|tenant_ids)|\mcurrent_setting)\{'
       AND (wrapped_using <> using_text OR wrapped_check <> check_text)),
-- Settings that the user can change.
settable AS (
    SELECT 'error', object, format('reads %s, which everybody can set', array_to_string(names, ', ')),
           CASE WHEN array_to_string(names, '') NOT LIKE '%.%'
                THEN format('ALTER POLICY %I ON %s', policy_name, table_name) || CASE WHEN using_text IS NULL THEN '' ELSE ' USING (false)' END
                     || CASE WHEN check_text IS NULL THEN '' ELSE ' WITH CHECK (false)' END || ';'
                ELSE format('ALTER SYSTEM SET pg_jwks.claim_settings = %L; -- with pg_jwks in shared_preload_libraries; then restart',
                   (SELECT concat_ws(', ', nullif(current_setting('pg_jwks.claim_settings', true), ''), string_agg(DISTINCT name || '=' || CASE
                               WHEN name ~ 'claims$' THEN '*'
                               WHEN name ~ '\.(user_?id|uid|id)$' THEN 'sub'
                               ELSE substring(name, '[^.]*$') END, ', '))
                      FROM variables, unnest(names) AS name WHERE name LIKE '%.%')) END
      FROM policies JOIN variables USING (oid)),
-- Policies that show everybody everything.
open_to_all AS (
    SELECT CASE WHEN condition IS NULL THEN 'warning' ELSE 'error' END, object, 'lets everybody at every row',
           format('ALTER POLICY %I ON %s USING (%s)', policy_name, table_name, coalesce(condition, 'false'))
               || CASE WHEN command IN ('*', 'w') THEN format(' WITH CHECK (%s)', coalesce(condition, 'false')) ELSE '' END || ';'
      FROM policies p LEFT JOIN tenants t ON t.oid = relation
     WHERE permissive AND 0 = ANY (roles) AND using_text = 'true'
       AND NOT EXISTS (SELECT FROM narrowed n WHERE n.relation = p.relation AND reads AND n.command IN ('*', p.command))),
-- Policies that accept rows of others: writes are not checked, though reads are, or nobody asks who writes.
unchecked AS (
    SELECT CASE WHEN condition IS NULL THEN 'warning' ELSE 'error' END, object, 'accepts rows whoever writes them',
           format('ALTER POLICY %I ON %s WITH CHECK (%s);', policy_name, table_name,
                  CASE WHEN in_using THEN using_text ELSE coalesce(condition, 'false') END)
      FROM policies p JOIN identities USING (oid) LEFT JOIN tenants t ON t.oid = relation
     WHERE permissive AND NOT in_check AND check_text <> 'false' AND using_text IS DISTINCT FROM 'true'
       AND (in_using OR 0 = ANY (roles))
       AND NOT EXISTS (SELECT FROM narrowed n WHERE n.relation = p.relation AND writes AND n.command IN ('*', p.command))),
-- Permissive policies are alternatives to tenant_isolation, unless it is restrictive.
alternatives AS (
    SELECT DISTINCT 'warning', format('table %s', i.table_name),
           'has a permissive policy beside tenant_isolation, which lets rows of other tenants through',
           format('SELECT auth.enable_tenant_isolation(%L, %L);', i.table_name, attname)
      FROM policies i JOIN policies p ON p.relation = i.relation AND p.permissive AND p.oid <> i.oid
           JOIN pg_depend d ON classid = 'pg_policy'::regclass AND objid = i.oid AND refobjid = i.relation
           JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid AND attnum > 0
     WHERE i.policy_name = 'tenant_isolation' AND i.permissive
       AND obj_description(i.oid, 'pg_policy') LIKE 'Made by auth.enable_tenant_isolation.%'),
-- Policies on a tenant column that no index begins with.
without_index AS (
    SELECT 'warning', format('table %s', name), format('has no index that begins with column %I', column_name),
           format('CREATE INDEX ON %s (%I);', name, column_name)
      FROM relations r JOIN tenants t USING (oid)
     WHERE has_rls
       AND EXISTS (SELECT FROM policies p JOIN pg_depend ON classid = 'pg_policy'::regclass AND objid = p.oid
                    WHERE refclassid = 'pg_class'::regclass AND refobjid = r.oid AND refobjsubid = t.number)
       AND NOT EXISTS (SELECT FROM pg_index
                        WHERE indrelid = r.oid AND indkey[0] = t.number AND indpred IS NULL AND indisvalid)),
-- Views that read with the rights of an owner whom RLS does not bind. PostgreSQL 14 has no security_invoker.
owner_views AS (
    SELECT DISTINCT 'error', format(CASE v.kind WHEN 'v' THEN 'view %s' ELSE 'materialized view %s' END, v.name),
           format('shows all rows of tables with row-level security, with the rights of %I', pg_get_userbyid(v.owner)),
           CASE WHEN v.kind = 'v' AND has_invoker THEN format('ALTER VIEW %s SET (security_invoker = true);', v.name) ELSE revokes END
      FROM views JOIN relations v USING (oid) JOIN relations r ON r.oid = base JOIN pg_roles o ON o.oid = v.owner
           LEFT JOIN grants ON grants.oid = v.oid,
           (SELECT current_setting('server_version_num')::int >= 150000) AS version (has_invoker)
     WHERE v.kind IN ('v', 'm')
       AND (revokes IS NOT NULL OR v.kind = 'v' AND has_invoker)
       AND (v.kind = 'm' OR o.rolsuper OR o.rolbypassrls OR NOT r.forced AND pg_has_role(v.owner, r.owner, 'USAGE'))
       AND NOT EXISTS (SELECT FROM unnest(v.options) AS option
                        WHERE option LIKE 'security_invoker=%' AND split_part(option, '=', 2)::boolean)),
-- Functions beside ours: a call with other types of arguments reaches them instead, with the token for example.
impostors AS (
    SELECT 'error', format('function %s', impostor.oid::regprocedure),
           'has the name of a function of pg_jwks, and calls can reach it instead',
           format('DROP FUNCTION %s;', impostor.oid::regprocedure)
      FROM (SELECT DISTINCT pronamespace, proname FROM pg_proc JOIN members ON members.oid = pg_proc.oid) AS own
           JOIN pg_proc impostor USING (pronamespace, proname)
     WHERE impostor.oid NOT IN (SELECT oid FROM members) AND proowner <> (SELECT extowner FROM extension)),
-- Who can make such functions. Superusers need not, and the extension's owner can drop it anyway.
creators AS (
    SELECT DISTINCT 'error', 'schema auth',
           CASE grantee WHEN 0 THEN 'lets everybody create functions beside those of pg_jwks'
                        ELSE format('lets %I create functions beside those of pg_jwks', pg_get_userbyid(grantee)) END,
           CASE WHEN grantee = nspowner THEN format('ALTER SCHEMA auth OWNER TO %I;', pg_get_userbyid(extowner))
                ELSE format('REVOKE CREATE ON SCHEMA auth FROM %s;',
                            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) END
      FROM extension JOIN pg_namespace n ON n.oid = extnamespace,
           LATERAL (SELECT nspowner AS grantee
                    UNION SELECT grantee FROM aclexplode(nspacl) WHERE privilege_type = 'CREATE') AS privilege
           LEFT JOIN pg_roles r ON r.oid = grantee
     WHERE grantee <> extowner AND rolsuper IS NOT TRUE),
-- Roles that RLS does not bind.
bypassing AS (
    SELECT 'warning', format('role %I', rolname), 'can connect, and row-level security does not bind it',
           format('ALTER ROLE %I NOBYPASSRLS;', rolname)
      FROM pg_roles WHERE rolbypassrls AND rolcanlogin AND NOT rolsuper)

SELECT f.* FROM (
    SELECT * FROM without_rls UNION ALL SELECT * FROM not_enabled UNION ALL SELECT * FROM without_policy
    UNION ALL SELECT * FROM not_forced UNION ALL SELECT * FROM direct_partitions UNION ALL SELECT * FROM bare_calls
    UNION ALL SELECT * FROM settable UNION ALL SELECT * FROM open_to_all UNION ALL SELECT * FROM unchecked
    UNION ALL SELECT * FROM alternatives UNION ALL SELECT * FROM without_index UNION ALL SELECT * FROM owner_views
    UNION ALL SELECT * FROM impostors UNION ALL SELECT * FROM creators UNION ALL SELECT * FROM bypassing) AS f (severity, object, problem, fix)
 ORDER BY array_position('{error,warning,notice}', f.severity), f.object, f.problem
$function$;
COMMENT ON FUNCTION auth.rls_lint() IS
    'What is unsafe (error, warning) or slow (notice) in the row-level security of this database, each with a statement that mends it';

-- What could stand in front of the functions above, now or later, stops the update.
DO $block$
DECLARE
    finding record;
BEGIN
    SELECT * INTO finding FROM auth.rls_lint() AS found
     WHERE found.problem LIKE '%functions beside those of pg_jwks' OR found.problem LIKE 'has the name of a function of pg_jwks%'
     LIMIT 1;
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'schema auth is not safe for pg_jwks',
            DETAIL = pg_catalog.format('%s %s.', pg_catalog.initcap(pg_catalog.left(finding.object, 1)) || pg_catalog.substr(finding.object, 2), finding.problem),
            HINT = finding.fix;
    END IF;
END
$block$;
