-- pg_jwks 1.0.0. Everything is in schema auth, which CREATE EXTENSION has made.

\echo Use "CREATE EXTENSION pg_jwks" to load this file. \quit

-- CREATE EXTENSION puts schema auth into the path. If somebody else made that schema, it can have functions and operators
-- that fit better than PostgreSQL's own, and this script runs as a superuser.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Functions that no policy may see the wrong side of are created, never replaced: an object that somebody else made
-- beforehand stops the installation. The end of this script refuses what could stand beside them.

-- Supabase's and pg_session_jwt's, most often. Policies call them, so dropping them is not the way.
DO $block$
DECLARE
    there text;
BEGIN
    SELECT string_agg(format('auth.%s()', proname), ', ' ORDER BY proname) INTO there
      FROM pg_proc WHERE pronamespace = 'auth'::regnamespace AND pronargs = 0
       AND proname = ANY ('{jwt,session,user_id,uid,role,email}');
    IF there IS NOT NULL THEN
        RAISE duplicate_function USING MESSAGE = format('functions of pg_jwks already exist: %s', there),
            DETAIL = 'They may be those of Supabase or of pg_session_jwt.',
            HINT = 'Run rls_examples/from_supabase/replace_functions.sql: it replaces them, and keeps the policies that call them.';
    END IF;
END
$block$;

CREATE FUNCTION auth.jwt_session_init(token text, is_local boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jwt_session_init_wrapper';
COMMENT ON FUNCTION auth.jwt_session_init(text, boolean) IS
    'Verifies a JWT and makes its claims the identity of the session, or of the transaction where is_local';

CREATE FUNCTION auth.assume_identity(claims jsonb, is_local boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'assume_identity_wrapper';
COMMENT ON FUNCTION auth.assume_identity(jsonb, boolean) IS
    'Makes claims the identity of the session, or of the transaction where is_local, without a token; auth.actor() names the session user';
REVOKE ALL ON FUNCTION auth.assume_identity(jsonb, boolean) FROM PUBLIC;

CREATE FUNCTION auth.jwt_session_clear() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jwt_session_clear_wrapper';
COMMENT ON FUNCTION auth.jwt_session_clear() IS 'Takes the identity away from the session';

CREATE FUNCTION auth.init() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'init_wrapper';
COMMENT ON FUNCTION auth.init() IS 'Does nothing; kept for code written for pg_session_jwt';

CREATE FUNCTION auth.jwt() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_jwt';
COMMENT ON FUNCTION auth.jwt() IS 'All verified claims; NULL without identity';

CREATE FUNCTION auth.session() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_jwt';
COMMENT ON FUNCTION auth.session() IS 'All verified claims; an alias of auth.jwt()';

CREATE FUNCTION auth.user_id() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_user_id';
COMMENT ON FUNCTION auth.user_id() IS 'Claim sub; NULL without identity';

CREATE FUNCTION auth.uid() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_uid';
COMMENT ON FUNCTION auth.uid() IS 'Claim sub as uuid; NULL where it is not one';

CREATE FUNCTION auth.role() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_role';
COMMENT ON FUNCTION auth.role() IS 'Claim role';

CREATE FUNCTION auth.email() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_email';
COMMENT ON FUNCTION auth.email() IS 'Claim email';

CREATE FUNCTION auth.claim(VARIADIC path text[]) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'claim_wrapper';
COMMENT ON FUNCTION auth.claim(text[]) IS 'One claim by its path: scalars as plain text, objects and arrays as JSON';

CREATE FUNCTION auth.has_scope(scope text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'has_scope_wrapper';
COMMENT ON FUNCTION auth.has_scope(text) IS 'Whether claim scope or scp has this scope; never NULL';

CREATE FUNCTION auth.has_role(role text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'has_role_wrapper';
COMMENT ON FUNCTION auth.has_role(text) IS 'Whether the claim that pg_jwks.role_claim names has this role; never NULL';

CREATE FUNCTION auth.organization() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_organization';
COMMENT ON FUNCTION auth.organization() IS 'Claim o, where it is an object';

CREATE FUNCTION auth.organization_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_organization_id';
COMMENT ON FUNCTION auth.organization_id() IS 'Member id of claim o as uuid; NULL where it is not one';

CREATE FUNCTION auth.expires_at() RETURNS timestamptz
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_expires_at';
COMMENT ON FUNCTION auth.expires_at() IS 'Claim exp';

CREATE FUNCTION auth.jwt_explain(token text, OUT "check" text, OUT ok boolean, OUT detail text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 13 AS 'MODULE_PATHNAME', 'jwt_explain_wrapper';
COMMENT ON FUNCTION auth.jwt_explain(text) IS 'Why a token would be accepted or rejected, one row a check; changes nothing';

CREATE FUNCTION auth.jwks(OUT issuer text, OUT kid text, OUT kty text, OUT alg text, OUT use text, OUT source text,
        OUT fetched_at timestamptz, OUT refresh_at timestamptz, OUT expires_at timestamptz, OUT stale boolean,
        OUT last_error text, OUT serves_until timestamptz, OUT next_fetch timestamptz, OUT problem text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'jwks_wrapper';
COMMENT ON FUNCTION auth.jwks() IS 'The keys in use and those that cannot be used, and how their last fetch went';

CREATE FUNCTION auth.jwks_refresh() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jwks_refresh_wrapper';
COMMENT ON FUNCTION auth.jwks_refresh() IS 'Fetches the keys of this session''s issuers now';

CREATE FUNCTION auth.jwt_counters(OUT counter text, OUT reason text, OUT value bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 30 AS 'MODULE_PATHNAME', 'jwt_counters_wrapper';
COMMENT ON FUNCTION auth.jwt_counters() IS 'What the view auth.jwt_stats shows';

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

REVOKE ALL ON FUNCTION auth.jwks(), auth.jwks_refresh(), auth.jwt_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth.jwks(), auth.jwt_counters() TO pg_monitor;
GRANT SELECT ON auth.jwt_stats TO pg_monitor;

GRANT USAGE ON SCHEMA auth TO PUBLIC;

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

-- Tenants

CREATE FUNCTION auth.tenant_id() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_tenant_id';
COMMENT ON FUNCTION auth.tenant_id() IS 'The current tenant; NULL without one';

CREATE FUNCTION auth.tenant_ids() RETURNS text[]
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_tenant_ids';
COMMENT ON FUNCTION auth.tenant_ids() IS 'Every tenant that the user belongs to; NULL without identity';

CREATE FUNCTION auth.set_tenant(tenant text, is_local boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'set_tenant_wrapper';
COMMENT ON FUNCTION auth.set_tenant(text, boolean) IS
    'Chooses one of the user''s tenants, for the session or for the transaction where is_local; NULL takes the choice back';

CREATE FUNCTION public.get_current_user_tenant_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pg_jwks_tenant_uuid';
COMMENT ON FUNCTION public.get_current_user_tenant_id() IS 'The current tenant as uuid; NULL without one';

-- Tenant isolation of a table in one statement. What the table was before is in the comment of the policy, which follows
-- renames, dumps and upgrades, and which only those can change whom the table belongs to.

CREATE FUNCTION auth.enable_tenant_isolation(tbl regclass, tenant_column name DEFAULT 'tenant_id', force boolean DEFAULT true)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET pg_jwks.protect_isolation = off AS $function$
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
    finding record;
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

    SELECT polpermissive AS permissive, polcmd = '*' AS for_all_commands, substring(description, '^' || replace(note, '.', '\.') || '(\{.*\})$')::jsonb AS before,
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
    -- Bare, the planner knows the tenant. A cast would run for each row.
    condition := format('TO PUBLIC USING (%1$I = %2$s) WITH CHECK (%1$I = %2$s)', tenant_column,
                        CASE WHEN current_tenant LIKE '%::%' THEN format('(SELECT %s)', current_tenant) ELSE current_tenant END);
    IF exists_already AND policy.for_all_commands AND policy.permissive <> others THEN
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
        IF others THEN
            RAISE NOTICE USING
                MESSAGE = format('table %s has permissive policies, which still say who sees what within a tenant', relation.name);
        END IF;
    END IF;
    EXECUTE format('COMMENT ON POLICY tenant_isolation ON %s IS %L', relation.name,
                   note || (policy.before || jsonb_build_object('force', force)));
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
    FOR finding IN SELECT * FROM auth.rls_keys(tbl) AS k WHERE k.severity = 'error' LOOP
        RAISE NOTICE USING MESSAGE = format('%s %s', finding.object, finding.problem), HINT = finding.fix;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION auth.enable_tenant_isolation(regclass, name, boolean) IS
    'Enables row-level security, for the owner too unless force is false, with a policy that shows and accepts rows of the current tenant only, '
    'which becomes the default of the column. The policy is restrictive where the table has permissive ones, which '
    'would otherwise let rows of other tenants through; after adding one, call this again, as auth.rls_lint says. Idempotent';

CREATE FUNCTION auth.disable_tenant_isolation(tbl regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET pg_jwks.protect_isolation = off AS $function$
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

-- What is unsafe or slow in this database's row-level security.

CREATE FUNCTION auth.rls_expression(expression pg_node_tree, relation oid, OUT condition text, OUT once text, OUT verdict boolean,
        OUT verdict_without_identity boolean, OUT asks boolean, OUT settings text[], OUT claims text[]) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL UNSAFE COST 1000 ROWS 1 AS 'MODULE_PATHNAME', 'rls_expression_wrapper';
COMMENT ON FUNCTION auth.rls_expression(pg_node_tree, oid) IS
    'A condition of a policy, and with (SELECT ...) around what is needed once a statement; whether it is true or false for every row, '
    'also without identity; whether it depends on who asks; the settings and claims that it reads. No row if it cannot be read';

CREATE FUNCTION auth.rls_tenants(OUT relation oid, OUT column_name name, OUT number smallint, OUT condition text,
        OUT is_bound boolean, OUT is_membership boolean) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $function$
-- The membership table and its tenant column, from a setting of the form schema.table (user_column, tenant_column).
WITH membership AS (
    SELECT to_regclass(substring(lookup, '^((?:"(?:[^"]|"")*"|[^"(])*)\(')) AS oid,
           (parse_ident(substring(lookup, ',\s*("(?:[^"]|"")*"|[^\s")]+)\s*\)\s*$')))[1] AS tenant_column
      FROM coalesce(nullif(current_setting('pg_jwks.tenant_lookup', true), ''), 'public.users (id, tenant_id)') AS lookup),
-- The columns that policies read.
bound AS (
    SELECT DISTINCT refobjid AS relation, refobjsubid AS number, polname = 'tenant_isolation' AS is_isolation
      FROM pg_depend JOIN pg_policy p ON p.oid = objid AND polrelid = refobjid
     WHERE classid = 'pg_policy'::regclass AND refclassid = 'pg_class'::regclass AND refobjsubid > 0)
SELECT DISTINCT ON (attrelid) attrelid, attname, attnum,
       CASE WHEN type = 'uuid'::regtype THEN format('%I = public.get_current_user_tenant_id()', attname)
            WHEN type IN ('text'::regtype, 'varchar'::regtype) THEN format('%I = auth.tenant_id()', attname)
            WHEN type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
                THEN format('%I = (SELECT auth.tenant_id()::%s)', attname, format_type(type, NULL))
       END,
       b.relation IS NOT NULL, attrelid IS NOT DISTINCT FROM m.oid
  FROM membership m, pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_type t ON t.oid = atttypid
       LEFT JOIN bound b ON b.relation = attrelid AND b.number = attnum,
       coalesce(nullif(typbasetype, 0), atttypid) AS type
 WHERE (attname IN ('tenant_id', m.tenant_column) OR b.is_isolation) AND attnum > 0 AND NOT attisdropped
   AND relkind IN ('r', 'p', 'f') AND relpersistence <> 't'
 ORDER BY attrelid, b.is_isolation DESC NULLS LAST, attname <> m.tenant_column
$function$;
COMMENT ON FUNCTION auth.rls_tenants() IS
    'The tenant column of each table that has one, the condition of its type''s policy, whether policies read it, and whether it is the membership table';

CREATE FUNCTION auth.rls_keys(tbl regclass, OUT rule text, OUT severity text, OUT object text, OUT problem text, OUT fix text,
        OUT owner oid) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $function$
WITH tables AS (
    SELECT c.oid, format('%I.%I', nspname, relname) AS name, relowner AS owner, number, column_name, is_membership
      FROM auth.rls_tenants() JOIN pg_class c ON c.oid = relation JOIN pg_namespace n ON n.oid = relnamespace
     WHERE is_bound AND relrowsecurity),
-- Foreign keys between two such tables that do not compare the tenants, with the columns' names.
foreign_keys AS (
    SELECT f.*, t.owner, t.name AS table_name, r.name AS referred_name, r.number AS referred_number,
           t.column_name AS tenant_column, r.column_name AS referred_tenant_column,
           (SELECT string_agg(quote_ident(attname), ', ' ORDER BY place) FROM unnest(conkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute ON attrelid = conrelid AND attnum = k.number) AS columns,
           (SELECT string_agg(quote_ident(attname), ', ' ORDER BY place) FROM unnest(confkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute ON attrelid = confrelid AND attnum = k.number) AS referred_columns
      FROM pg_constraint f JOIN tables t ON t.oid = conrelid JOIN tables r ON r.oid = confrelid
     WHERE contype = 'f' AND conparentid = 0 AND (tbl IS NULL OR tbl IN (conrelid, confrelid))
       AND NOT EXISTS (SELECT FROM unnest(conkey, confkey) AS pair (from_number, to_number)
                        WHERE from_number = t.number AND to_number = r.number))
SELECT 'foreign_key_across_tenants', 'error', format('constraint %I on table %s', conname, table_name),
       format('lets a tenant refer to rows of other tenants in table %s, find out which there are, and lose its own with them', referred_name),
       CASE WHEN EXISTS (SELECT FROM pg_index
                          WHERE indrelid = confrelid AND indisunique AND indimmediate AND indpred IS NULL AND indexprs IS NULL
                            AND indnkeyatts = cardinality(confkey) + 1
                            AND (indkey::int2[])[0:indnkeyatts - 1] @> (confkey || referred_number)) THEN ''
            ELSE format('ALTER TABLE %s ADD UNIQUE (%I, %s); ', referred_name, referred_tenant_column, referred_columns) END
           || format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %2$I FOREIGN KEY (%I, %s) REFERENCES %s (%I, %s)%s%s%s%s;',
                     table_name, conname, tenant_column, columns, referred_name, referred_tenant_column, referred_columns,
                     CASE confupdtype WHEN 'r' THEN ' ON UPDATE RESTRICT' WHEN 'c' THEN ' ON UPDATE CASCADE' ELSE '' END,
                     CASE confdeltype WHEN 'r' THEN ' ON DELETE RESTRICT' WHEN 'c' THEN ' ON DELETE CASCADE'
                                      WHEN 'n' THEN format(' ON DELETE SET NULL (%s)', columns)
                                      WHEN 'd' THEN format(' ON DELETE SET DEFAULT (%s)', columns) ELSE '' END,
                     CASE WHEN condeferred THEN ' DEFERRABLE INITIALLY DEFERRED' WHEN condeferrable THEN ' DEFERRABLE' ELSE '' END,
                     CASE WHEN convalidated THEN '' ELSE ' NOT VALID' END),
       owner
  FROM foreign_keys
UNION ALL
-- Keys that nobody chooses reveal nothing: random ones, and those that count. Those that a foreign key needs stay.
SELECT 'unique_across_tenants', 'notice',
       CASE WHEN conname IS NULL THEN format('index %s', index_name) ELSE format('constraint %I on table %s', conname, t.name) END,
       'lets a tenant find out which values others have',
       CASE WHEN conname IS NULL
            THEN format('DROP INDEX %s; %s;', index_name, regexp_replace(pg_get_indexdef(indexrelid), ' USING btree \(',
                                                                         format(' USING btree (%I, ', column_name)))
            ELSE format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %2$I %s;', t.name, conname,
                        regexp_replace(pg_get_constraintdef(u.oid), '\(', format('(%I, ', column_name))) END,
       t.owner
  FROM tables t JOIN pg_index ON indrelid = t.oid
       LEFT JOIN pg_constraint u ON u.conindid = indexrelid AND u.contype IN ('p', 'u'),
       LATERAL (SELECT format('%I.%I', nspname, relname) AS index_name, relispartition
                  FROM pg_class i JOIN pg_namespace n ON n.oid = relnamespace WHERE i.oid = indexrelid) AS i
 WHERE (tbl IS NULL OR tbl = t.oid) AND indisunique AND NOT relispartition AND NOT is_membership
   AND t.number <> ALL ((indkey::int2[])[0:indnkeyatts - 1])
   AND NOT EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.conindid = indexrelid)
   AND NOT EXISTS (SELECT FROM pg_attribute a LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                    WHERE attrelid = t.oid AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])
                      AND (atttypid = 'uuid'::regtype OR attidentity <> '' OR pg_get_expr(adbin, adrelid) LIKE 'nextval(%'))
$function$;
COMMENT ON FUNCTION auth.rls_keys(regclass) IS 'What auth.rls_lint() reports of the keys of one table, or of all';

-- Each rule is one common table expression of its name.

CREATE FUNCTION auth.rls_findings(OUT rule text, OUT severity text, OUT object text, OUT problem text, OUT fix text, OUT owner oid)
    RETURNS SETOF record LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $function$
WITH
-- This extension and its functions.
extension AS (SELECT oid, extowner, extnamespace FROM pg_extension WHERE extname = 'pg_jwks'),
members AS (
    SELECT objid AS oid FROM pg_depend
     WHERE classid = 'pg_proc'::regclass AND deptype = 'e' AND refclassid = 'pg_extension'::regclass
       AND refobjid = (SELECT oid FROM extension)),
of_extensions AS (SELECT classid, objid AS oid FROM pg_depend WHERE deptype = 'e'),
-- Roles that policies do not bind, or that are meant to see all rows.
meant AS (SELECT regexp_split_to_table(trim(current_setting('pg_jwks.bypass_roles', true)), '\s*,\s*') AS rolname),
unbound AS (SELECT oid FROM pg_roles WHERE rolsuper OR rolbypassrls OR rolname IN (SELECT rolname FROM meant)),
-- Tables and views of users.
relations AS (
    SELECT c.oid, format('%I.%I', nspname, relname) AS name, relname, relkind AS kind, relowner AS owner, relispartition AS is_partition,
           relrowsecurity AS has_rls, relforcerowsecurity AS forced, relacl AS acl, reloptions AS options
      FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relpersistence <> 't'
       AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
       AND NOT EXISTS (SELECT FROM of_extensions e WHERE classid = 'pg_class'::regclass AND e.oid = c.oid)),
-- What is granted on relations, or on their columns, to others than the owner.
privileges AS (
    SELECT r.oid, p.grantee, p.privilege_type AS privilege,
           CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(p.grantee)) END AS grantee_name
      FROM relations r, aclexplode(r.acl) AS p WHERE p.grantee <> r.owner
    UNION
    SELECT r.oid, p.grantee, p.privilege_type, CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(p.grantee)) END
      FROM relations r JOIN pg_attribute ON attrelid = r.oid AND NOT attisdropped, aclexplode(attacl) AS p WHERE p.grantee <> r.owner),
-- What takes all of it from them.
grants AS (
    SELECT oid, string_agg(DISTINCT format('REVOKE ALL ON %s FROM %s;', name, grantee_name), ' ') AS revokes
      FROM relations JOIN privileges USING (oid) GROUP BY oid),
tenants AS (SELECT relation AS oid, column_name, number, condition, is_bound, is_membership FROM auth.rls_tenants()),
-- The policies, and what their conditions say.
policies AS MATERIALIZED (
    SELECT p.oid, polname AS policy_name, polrelid AS relation, r.name AS table_name, r.owner, r.has_rls, polpermissive AS permissive,
           polcmd AS command, polroles AS roles, 0 = ANY (polroles) AS for_all, format('policy %I on table %s', polname, r.name) AS object,
           format('ALTER POLICY %I ON %s', polname, r.name) AS alter,
           polqual IS NOT NULL AS has_using, polwithcheck IS NOT NULL AS has_check,
           polqual IS NOT NULL AND u.asks IS NULL OR polwithcheck IS NOT NULL AND w.asks IS NULL AS is_not_read,
           u.condition AS using_text, w.condition AS check_text, u.once AS using_once, w.once AS check_once,
           u.verdict AS using_verdict, w.verdict AS check_verdict, u.verdict_without_identity AS using_alone,
           w.verdict_without_identity AS check_alone, coalesce(u.asks, false) AS using_asks, coalesce(w.asks, false) AS check_asks,
           coalesce(u.settings, '{}') || coalesce(w.settings, '{}') AS settings, coalesce(u.claims, '{}') || coalesce(w.claims, '{}') AS claims
      FROM pg_policy p JOIN relations r ON r.oid = polrelid
           LEFT JOIN LATERAL auth.rls_expression(polqual, polrelid) AS u ON true
           LEFT JOIN LATERAL auth.rls_expression(polwithcheck, polrelid) AS w ON true),
-- The policies of auth.enable_tenant_isolation, with what it has noted.
isolations AS (
    SELECT p.*, column_name,
           CASE WHEN obj_description(p.oid, 'pg_policy') LIKE '%"force": false%' THEN ', force => false' ELSE '' END AS force
      FROM policies p LEFT JOIN tenants t ON t.oid = relation
     WHERE policy_name = 'tenant_isolation' AND obj_description(p.oid, 'pg_policy') LIKE 'Made by auth.enable_tenant_isolation. Before: {%}'),
own_policies AS (SELECT * FROM policies WHERE oid NOT IN (SELECT oid FROM isolations) AND NOT is_not_read),
-- Commands that a restrictive policy about the identity narrows for everybody, on each table.
narrowed AS (
    SELECT relation, command, using_asks AND using_alone IS NOT TRUE AS reads,
           CASE WHEN check_text IS NULL THEN using_asks AND using_alone IS NOT TRUE ELSE check_asks AND check_alone IS NOT TRUE END AS writes
      FROM policies WHERE NOT permissive AND for_all AND NOT is_not_read),
-- Settings that policies read, and that everybody can change; those of pg_jwks are safe where the library is preloaded.
safe_settings AS (
    SELECT lower(name) AS name FROM pg_settings WHERE context NOT IN ('user', 'backend') AND name NOT LIKE 'pg\_jwks.%'
    UNION
    SELECT lower(defined[1])
      FROM pg_settings, regexp_matches(setting, '(?:^|,)\s*([a-z_][a-z0-9_.$]*)\s*=', 'gi') AS defined
     WHERE name = 'pg_jwks.claim_settings' AND context = 'postmaster'),
variables AS (
    SELECT oid, array_agg(DISTINCT name) AS names
      FROM policies, unnest(settings) AS name
     WHERE name <> 'role' AND name NOT IN (SELECT safe_settings.name FROM safe_settings)
       AND NOT (name LIKE 'pg\_jwks.%'
                AND EXISTS (SELECT FROM pg_settings s WHERE s.name = 'pg_jwks.claim_settings' AND context = 'postmaster'))
     GROUP BY oid),
-- Views on tables with row-level security, on views of such too.
view_bases AS (
    SELECT ev_class AS oid, refobjid AS base
      FROM pg_rewrite w JOIN pg_depend d ON d.objid = w.oid AND classid = 'pg_rewrite'::regclass
     WHERE refclassid = 'pg_class'::regclass AND refobjid <> ev_class),
-- Words of functions that run with the rights of their owner: what they might read.
definers AS (
    SELECT p.oid, proowner AS owner, p.oid::regprocedure AS name, rolsuper OR rolbypassrls AS is_unbound, prosrc
      FROM pg_proc p JOIN pg_roles o ON o.oid = proowner
     WHERE prosecdef AND prokind <> 'a' AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
       AND NOT EXISTS (SELECT FROM of_extensions e WHERE classid = 'pg_proc'::regclass AND e.oid = p.oid)
       AND EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) AS a
                    WHERE a.grantee <> proowner AND a.grantee NOT IN (SELECT u.oid FROM unbound u))),
definer_reads AS (
    SELECT d.oid, r.oid AS relation
      FROM definers d, regexp_matches(prosrc, '[a-z_][a-z0-9_$]*|"(?:[^"]|"")+"', 'gi') AS word JOIN relations r
           ON r.relname = CASE WHEN word[1] LIKE '"%' THEN replace(trim(word[1], '"'), '""', '"') ELSE lower(word[1]) END
    UNION
    SELECT d.oid, refobjid FROM definers d JOIN pg_depend ON classid = 'pg_proc'::regclass AND objid = d.oid
     WHERE refclassid = 'pg_class'::regclass),

-- A table with a tenant column and neither RLS nor policies. The membership table needs none while nobody else reads it.
table_without_rls AS (
    SELECT 'error', format('table %s', name), format('has column %I, but no row-level security', column_name),
           CASE WHEN condition IS NULL THEN format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', name)
                ELSE format('SELECT auth.enable_tenant_isolation(%L, %L);', name, column_name) END, owner
      FROM relations r JOIN tenants USING (oid)
     WHERE kind IN ('r', 'p') AND NOT has_rls AND NOT is_partition AND NOT EXISTS (SELECT FROM policies WHERE relation = r.oid)
       AND (NOT is_membership OR EXISTS (SELECT FROM grants WHERE grants.oid = r.oid))),
-- Policies without effect.
policies_without_rls AS (
    SELECT DISTINCT 'error', format('table %s', table_name), 'has policies, but row-level security is not enabled',
           format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', table_name), owner
      FROM policies WHERE NOT has_rls),
-- RLS without permissive policy shows nothing.
rls_without_policy AS (
    SELECT 'warning', format('table %s', name),
           'has row-level security without a permissive policy, so that nobody whom it binds sees a row',
           CASE WHEN condition IS NULL THEN format('CREATE POLICY nobody ON %s USING (false);', name)
                ELSE format('SELECT auth.enable_tenant_isolation(%L, %L);', name, column_name) END, owner
      FROM relations r LEFT JOIN tenants USING (oid)
     WHERE has_rls AND NOT EXISTS (SELECT FROM policies WHERE relation = r.oid AND permissive)),
-- What auth.enable_tenant_isolation made is not as it was. A default that it set stays where its policy was dropped.
isolation_changed AS (
    SELECT 'error', object, 'is not as auth.enable_tenant_isolation made it',
           CASE WHEN column_name IS NULL THEN format('SELECT auth.disable_tenant_isolation(%L);', table_name)
                ELSE format('SELECT auth.enable_tenant_isolation(%L, %L%s);', table_name, column_name, force) END, owner
      FROM isolations
     WHERE NOT for_all OR command <> '*' OR using_text IS DISTINCT FROM check_text
        OR using_text !~ ('^\(\(*' || regexp_replace(quote_ident(column_name), '(\W)', '\\\1', 'g')
                          || '\)*(::[a-z ]+)? = (\( SELECT )?\(?(public\.get_current_user_tenant_id|auth\.tenant_id)\(\)\)?(::[a-z]+)?( AS \w+\))?\)$')
    UNION ALL
    SELECT 'error', format('table %s', r.name), 'is not forced any more, as auth.enable_tenant_isolation made it',
           format('SELECT auth.enable_tenant_isolation(%L, %L);', r.name, column_name), r.owner
      FROM isolations i JOIN relations r ON r.oid = relation
     WHERE r.has_rls AND NOT forced AND force = ''
    UNION ALL
    SELECT 'error', format('table %s', name), 'has lost its policy tenant_isolation',
           format('SELECT auth.enable_tenant_isolation(%L, %L);', name, column_name), owner
      FROM relations r JOIN tenants USING (oid) JOIN pg_attrdef ON adrelid = r.oid AND adnum = number
     WHERE NOT is_bound AND EXISTS (SELECT FROM policies p WHERE p.relation = r.oid AND permissive)
       AND pg_get_expr(adbin, adrelid) ~ '^\(?(public\.get_current_user_tenant_id\(\)|auth\.tenant_id\(\))\)?(::[a-z ]+)?$'),
-- An owner who can connect, also as a member of the owning role, and whom RLS does not bind.
owner_not_bound AS (
    SELECT 'warning', format('table %s', name), format('does not bind its owner %I, who can connect', pg_get_userbyid(owner)),
           format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', name), owner
      FROM relations r
     WHERE has_rls AND NOT forced AND owner NOT IN (SELECT oid FROM unbound)
       AND NOT EXISTS (SELECT FROM isolations WHERE relation = r.oid)
       AND owner IN (SELECT o.owner
                       FROM (SELECT DISTINCT owner FROM relations WHERE has_rls AND NOT forced) AS o
                            JOIN pg_roles ON pg_has_role(pg_roles.oid, o.owner, 'USAGE')
                      WHERE rolcanlogin AND pg_roles.oid NOT IN (SELECT oid FROM unbound))),
-- Partitions that can be read past the policies of their table.
partition_readable AS (
    SELECT 'error', format('table %s', r.name),
           format('is a partition that others can read without the policies of %s', root.name), revokes, r.owner
      FROM relations r JOIN grants USING (oid) JOIN relations root ON root.oid = pg_partition_root(r.oid)
     WHERE r.is_partition AND NOT r.has_rls AND root.has_rls),
-- Policies do not hold for foreign tables.
foreign_table AS (
    SELECT 'error', format('foreign table %s', name), format('has column %I, and row-level security does not hold for it', column_name),
           revokes, owner
      FROM relations JOIN tenants USING (oid) JOIN grants USING (oid)
     WHERE kind = 'f' AND NOT is_partition),
-- What policies do not bind: TRUNCATE removes all rows, a trigger sees them, a foreign key finds out which there are.
privilege_past_policies AS (
    SELECT CASE WHEN bool_or(privilege <> 'REFERENCES') THEN 'error' ELSE 'warning' END, format('table %s', name),
           format('grants %s, which policies do not bind',
                  string_agg(DISTINCT format('%s to %s', privilege, grantee_name), ', ')),
           format('REVOKE TRUNCATE, REFERENCES, TRIGGER ON %s FROM %s;', name, string_agg(DISTINCT grantee_name, ', ')), owner
      FROM relations JOIN privileges USING (oid)
     WHERE has_rls AND privilege IN ('TRUNCATE', 'REFERENCES', 'TRIGGER') AND grantee NOT IN (SELECT unbound.oid FROM unbound)
     GROUP BY name, owner),
-- Calls of other functions than ours that cost much in each row; in a subquery they are made once.
call_per_row AS (
    SELECT 'notice', object, 'calls a function for each row that is needed once a statement',
           alter || coalesce(' USING (' || using_once || ')', '') || coalesce(' WITH CHECK (' || check_once || ')', '') || ';', owner
      FROM own_policies WHERE num_nonnulls(using_once, check_once) > 0),
-- Readers of ours in a subquery, which the planner does not look into: it takes each value of a column to be as frequent as any.
wrapped_reader AS (
    SELECT 'notice', object,
           format('hides the value of column %I from the planner, though some values have many more rows than others', attname),
           CASE WHEN p.oid IN (SELECT oid FROM isolations)
                THEN (SELECT format('SELECT auth.enable_tenant_isolation(%L, %L%s);', i.table_name, column_name, force)
                        FROM isolations i WHERE i.oid = p.oid)
                ELSE alter || format(' USING (%s);', regexp_replace(using_text, wrapped, '\1 = \2', 'g')) END, owner
      FROM (VALUES ('([a-z_][a-z0-9_$]*|"(?:[^"]|"")+") = \( SELECT ((?:auth\.(?:actor|claim|email|organization_id|role|tenant_id|uid|user_id)'
                    || '|public\.get_current_user_tenant_id)\([^()]*\)) AS \w+\)')) AS w(wrapped),
           policies p JOIN pg_class c ON c.oid = relation
           JOIN pg_stats s ON schemaname = relnamespace::regnamespace::text AND tablename = relname
     WHERE EXISTS (SELECT FROM regexp_matches(using_text, wrapped, 'g') AS found WHERE found[1] = quote_ident(attname))
       AND reltuples >= 10000 AND s.inherited = (relkind = 'p')
       AND most_common_freqs[1] * CASE WHEN n_distinct < 0 THEN -n_distinct * reltuples ELSE n_distinct END >= 10),
-- Settings that the user can change.
settable_setting AS (
    SELECT 'error', object, format('reads %s, which everybody can set', array_to_string(names, ', ')),
           CASE WHEN array_to_string(names, '') NOT LIKE '%.%'
                THEN alter || CASE WHEN using_text IS NULL THEN '' ELSE ' USING (false)' END
                     || CASE WHEN check_text IS NULL THEN '' ELSE ' WITH CHECK (false)' END || ';'
                ELSE format('ALTER SYSTEM SET pg_jwks.claim_settings = %L; -- with pg_jwks in shared_preload_libraries; then restart',
                   (SELECT concat_ws(', ', nullif(current_setting('pg_jwks.claim_settings', true), ''), string_agg(DISTINCT name || '=' || CASE
                               WHEN name ~ 'claims$' THEN '*'
                               WHEN name ~ '\.(user_?id|uid|id)$' THEN 'sub'
                               ELSE substring(name, '[^.]*$') END, ', '))
                      FROM variables, unnest(names) AS name WHERE name LIKE '%.%')) END, owner
      FROM own_policies JOIN variables USING (oid)),
-- Claims that the user writes: whoever may change the profile would grant himself what the policy asks for.
claim_of_user AS (
    SELECT CASE WHEN bool_or(is_metadata) THEN 'error' ELSE 'warning' END, object,
           format('trusts claim %s, which users can change themselves', string_agg(DISTINCT claim, ', ')),
           alter || CASE WHEN using_text IS NULL THEN '' ELSE ' USING (false)' END
                 || CASE WHEN check_text IS NULL THEN '' ELSE ' WITH CHECK (false)' END || ';', owner
      FROM own_policies, unnest(claims) AS claim,
           LATERAL (SELECT claim ~ '(^|[./])(user_metadata|raw_user_meta_data|unsafe_metadata)(\.|$)' AS is_metadata) AS metadata
     WHERE is_metadata
        OR claim ~ '^(name|given_name|family_name|middle_name|nickname|preferred_username|unique_name|profile|picture|website|zoneinfo|locale)$'
     GROUP BY object, alter, using_text, check_text, owner),
-- Conditions that are too deep, for one: nothing is known of them. PostgreSQL itself cannot open such a table then.
policy_not_read AS (
    SELECT 'warning', object, 'has a condition that cannot be read',
           'SET max_stack_depth = ''7MB''; ' || alter || CASE WHEN has_using THEN ' USING (false)' ELSE '' END || CASE WHEN has_check THEN ' WITH CHECK (false)' ELSE '' END || ';',
           owner
      FROM policies WHERE is_not_read),
-- Policies that show everybody everything.
policy_for_everybody AS (
    SELECT CASE WHEN condition IS NULL THEN 'warning' ELSE 'error' END, object, 'lets everybody at every row',
           alter || format(' USING (%s)', coalesce(condition, 'false'))
                 || CASE WHEN command IN ('*', 'w') THEN format(' WITH CHECK (%s)', coalesce(condition, 'false')) ELSE '' END || ';', owner
      FROM own_policies p LEFT JOIN tenants t ON t.oid = relation
     WHERE permissive AND for_all AND using_verdict
       AND NOT EXISTS (SELECT FROM narrowed n WHERE n.relation = p.relation AND reads AND n.command IN ('*', p.command))),
-- Policies that hold for every row if there is no identity, as "... OR auth.user_id() IS NULL" does.
policy_without_identity AS (
    SELECT 'error', object, 'lets sessions without identity at every row',
           alter || CASE WHEN using_alone THEN format(' USING ((%s) AND (SELECT auth.jwt()) IS NOT NULL)', using_text) ELSE '' END
                 || CASE WHEN check_alone THEN format(' WITH CHECK ((%s) AND (SELECT auth.jwt()) IS NOT NULL)', check_text) ELSE '' END || ';', owner
      FROM own_policies p
     WHERE permissive AND for_all AND (using_alone AND using_verdict IS NOT TRUE OR check_alone AND check_asks AND check_verdict IS NOT TRUE)
       AND NOT EXISTS (SELECT FROM narrowed n WHERE n.relation = p.relation AND n.command IN ('*', p.command)
                                                AND (reads AND using_alone OR writes AND check_alone))),
-- Policies that accept rows of others: writes are not checked, though reads are, or nobody asks who writes.
unchecked_write AS (
    SELECT CASE WHEN condition IS NULL THEN 'warning' ELSE 'error' END, object, 'accepts rows whoever writes them',
           alter || format(' WITH CHECK (%s);', CASE WHEN using_asks THEN using_text ELSE coalesce(condition, 'false') END), owner
      FROM own_policies p LEFT JOIN tenants t ON t.oid = relation
     WHERE permissive AND check_text IS NOT NULL AND NOT check_asks AND check_verdict IS NOT FALSE AND using_verdict IS NOT TRUE
       AND (using_asks OR for_all)
       AND NOT EXISTS (SELECT FROM narrowed n WHERE n.relation = p.relation AND writes AND n.command IN ('*', p.command))),
-- Permissive policies are alternatives to tenant_isolation, unless it is restrictive.
policy_beside_isolation AS (
    SELECT DISTINCT 'warning', format('table %s', i.table_name),
           'has a permissive policy beside tenant_isolation, which lets rows of other tenants through',
           format('SELECT auth.enable_tenant_isolation(%L, %L%s);', i.table_name, column_name, force), i.owner
      FROM isolations i JOIN policies p ON p.relation = i.relation AND p.permissive AND p.oid <> i.oid
     WHERE i.permissive),
-- Permissive policies for one command and the same roles: all are evaluated for each row, and one of them suffices.
several_policies AS (
    SELECT 'notice', format('table %s', table_name),
           format('has %s permissive policies for %s and the same roles, where one would do', count(*),
                  CASE command WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END),
           string_agg(format('DROP POLICY %I ON %s; ', policy_name, table_name), '' ORDER BY policy_name) FILTER (WHERE NOT is_first)
               || min(alter) FILTER (WHERE is_first)
               || coalesce(' USING (' || string_agg('(' || using_text || ')', ' OR ' ORDER BY policy_name) || ')', '')
               || CASE WHEN bool_or(check_text IS NOT NULL)
                       THEN ' WITH CHECK (' || string_agg('(' || coalesce(check_text, using_text) || ')', ' OR ' ORDER BY policy_name) || ')'
                       ELSE '' END || ';', owner
      FROM (SELECT *, policy_name = min(policy_name) OVER (PARTITION BY relation, command, roles) AS is_first
              FROM (SELECT oid, relation, table_name, owner, policy_name, command, alter, using_text, check_text,
                           (SELECT array_agg(role ORDER BY role) FROM unnest(roles) AS role) AS roles
                      FROM policies WHERE permissive AND using_verdict IS NOT TRUE AND (check_text IS NULL OR check_asks)) AS p) AS p
     WHERE relation NOT IN (SELECT relation FROM isolations WHERE permissive)
     GROUP BY relation, table_name, owner, command, roles HAVING count(*) > 1),
-- Policies on a tenant column that no index begins with.
tenant_without_index AS (
    SELECT 'warning', format('table %s', name), format('has no index that begins with column %I', column_name),
           format('CREATE INDEX ON %s (%I);', name, column_name), owner
      FROM relations r JOIN tenants t USING (oid)
     WHERE has_rls AND is_bound
       AND NOT EXISTS (SELECT FROM pg_index
                        WHERE indrelid = r.oid AND indkey[0] = t.number AND indpred IS NULL AND indisvalid)),
-- Views that read with the rights of an owner whom RLS does not bind.
view_of_owner AS (
    WITH RECURSIVE views AS (
        SELECT oid, oid AS base FROM relations WHERE kind IN ('r', 'p') AND has_rls
        UNION
        SELECT v.oid, views.base FROM views JOIN view_bases v ON v.base = views.oid)
    SELECT DISTINCT 'error', format(CASE v.kind WHEN 'v' THEN 'view %s' ELSE 'materialized view %s' END, v.name),
           format('shows all rows of tables with row-level security, with the rights of %I', pg_get_userbyid(v.owner)),
           CASE v.kind WHEN 'v' THEN format('ALTER VIEW %s SET (security_invoker = true);', v.name) ELSE revokes END, v.owner
      FROM views JOIN relations v USING (oid) JOIN relations r ON r.oid = base LEFT JOIN grants ON grants.oid = v.oid
           JOIN pg_roles o ON o.oid = v.owner
     WHERE (v.kind = 'v' OR v.kind = 'm' AND revokes IS NOT NULL)
       AND (v.kind = 'm' OR o.rolsuper OR o.rolbypassrls OR NOT r.forced AND pg_has_role(v.owner, r.owner, 'USAGE'))
       AND NOT EXISTS (SELECT FROM unnest(v.options) AS option
                        WHERE option LIKE 'security_invoker=%' AND split_part(option, '=', 2)::boolean)),
-- Functions that read with the rights of an owner whom RLS does not bind, and do not ask who asks.
function_of_owner AS (
    SELECT 'error', format('function %s', d.name),
           format('reads %s with the rights of %I, whom policies do not bind', string_agg(DISTINCT r.name, ', '), pg_get_userbyid(d.owner)),
           format('ALTER FUNCTION %s SECURITY INVOKER;', d.name), d.owner
      FROM definers d JOIN definer_reads USING (oid) JOIN relations r ON r.oid = relation
     WHERE r.has_rls AND (d.is_unbound OR NOT r.forced AND pg_has_role(d.owner, r.owner, 'USAGE'))
       AND prosrc !~ '\mauth\s*\.\s*(jwt|session|user_id|uid|claim|tenant_ids?|has_role|has_scope|organization(_id)?)\s*\(|\mget_current_user_tenant_id\s*\('
       AND NOT EXISTS (SELECT FROM pg_depend JOIN members ON members.oid = refobjid
                        WHERE classid = 'pg_proc'::regclass AND objid = d.oid AND refclassid = 'pg_proc'::regclass)
     GROUP BY d.name, d.owner),
-- Functions of policies that find their names by the path of whoever asks, who can put another object in front.
function_search_path AS (
    SELECT DISTINCT 'warning', format('function %s', p.oid::regprocedure), 'is called by policies, and finds names by the search_path of whoever asks',
           format('ALTER FUNCTION %s SET search_path = pg_catalog, %s pg_temp;', p.oid::regprocedure,
                  CASE nspname WHEN 'pg_catalog' THEN '' ELSE format('%I,', nspname) END), proowner
      FROM pg_depend d JOIN pg_proc p ON p.oid = refobjid JOIN pg_namespace n ON n.oid = pronamespace JOIN pg_language l ON l.oid = prolang
     WHERE d.classid = 'pg_policy'::regclass AND d.refclassid = 'pg_proc'::regclass AND lanname NOT IN ('internal', 'c')
       AND prosqlbody IS NULL AND NOT EXISTS (SELECT FROM of_extensions e WHERE classid = 'pg_proc'::regclass AND e.oid = p.oid)
       AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%')),
-- Functions beside ours: a call with other types of arguments reaches them instead, with the token for example.
function_in_front AS (
    SELECT 'error', format('function %s', impostor.oid::regprocedure),
           'has the name of a function of pg_jwks, and calls can reach it instead',
           format('DROP FUNCTION %s;', impostor.oid::regprocedure), proowner
      FROM (SELECT DISTINCT pronamespace, proname FROM pg_proc JOIN members ON members.oid = pg_proc.oid) AS own
           JOIN pg_proc impostor USING (pronamespace, proname)
     WHERE impostor.oid NOT IN (SELECT oid FROM members) AND proowner <> (SELECT extowner FROM extension)),
-- Who can make such functions. Superusers need not, and the extension's owner can drop it anyway.
create_in_auth AS (
    SELECT DISTINCT 'error', 'schema auth',
           CASE grantee WHEN 0 THEN 'lets everybody create functions beside those of pg_jwks'
                        ELSE format('lets %I create functions beside those of pg_jwks', pg_get_userbyid(grantee)) END,
           CASE WHEN grantee = nspowner THEN format('ALTER SCHEMA auth OWNER TO %I;', pg_get_userbyid(extowner))
                ELSE format('REVOKE CREATE ON SCHEMA auth FROM %s;',
                            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) END, nspowner
      FROM extension JOIN pg_namespace n ON n.oid = extnamespace,
           LATERAL (SELECT nspowner AS grantee
                    UNION SELECT grantee FROM aclexplode(nspacl) WHERE privilege_type = 'CREATE') AS privilege
           LEFT JOIN pg_roles r ON r.oid = grantee
     WHERE grantee <> extowner AND rolsuper IS NOT TRUE),
-- Roles that RLS does not bind.
role_past_policies AS (
    SELECT 'warning', format('role %I', rolname), 'can connect, and row-level security does not bind it',
           format('ALTER ROLE %I NOBYPASSRLS;', rolname), 0::oid
      FROM pg_roles WHERE rolbypassrls AND rolcanlogin AND NOT rolsuper AND rolname NOT IN (SELECT rolname FROM meant))

          SELECT 'table_without_rls', * FROM table_without_rls
UNION ALL SELECT 'policies_without_rls', * FROM policies_without_rls
UNION ALL SELECT 'rls_without_policy', * FROM rls_without_policy
UNION ALL SELECT 'isolation_changed', * FROM isolation_changed
UNION ALL SELECT 'owner_not_bound', * FROM owner_not_bound
UNION ALL SELECT 'partition_readable', * FROM partition_readable
UNION ALL SELECT 'foreign_table', * FROM foreign_table
UNION ALL SELECT 'privilege_past_policies', * FROM privilege_past_policies
UNION ALL SELECT 'call_per_row', * FROM call_per_row
UNION ALL SELECT 'wrapped_reader', * FROM wrapped_reader
UNION ALL SELECT 'settable_setting', * FROM settable_setting
UNION ALL SELECT 'claim_of_user', * FROM claim_of_user
UNION ALL SELECT 'policy_not_read', * FROM policy_not_read
UNION ALL SELECT 'policy_for_everybody', * FROM policy_for_everybody
UNION ALL SELECT 'policy_without_identity', * FROM policy_without_identity
UNION ALL SELECT 'unchecked_write', * FROM unchecked_write
UNION ALL SELECT 'policy_beside_isolation', * FROM policy_beside_isolation
UNION ALL SELECT 'several_policies', * FROM several_policies
UNION ALL SELECT 'tenant_without_index', * FROM tenant_without_index
UNION ALL SELECT 'view_of_owner', * FROM view_of_owner
UNION ALL SELECT 'function_of_owner', * FROM function_of_owner
UNION ALL SELECT 'function_search_path', * FROM function_search_path
UNION ALL SELECT 'function_in_front', * FROM function_in_front
UNION ALL SELECT 'create_in_auth', * FROM create_in_auth
UNION ALL SELECT 'role_past_policies', * FROM role_past_policies
UNION ALL SELECT * FROM auth.rls_keys(NULL)
$function$;
COMMENT ON FUNCTION auth.rls_findings() IS 'What auth.rls_lint() reports, with the owner of each object, whether accepted or not';

CREATE TABLE auth.rls_accepted (
    rule text NOT NULL,
    object text NOT NULL,
    reason text NOT NULL CHECK (reason OPERATOR(pg_catalog.<>) ''),
    accepted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    accepted_by name NOT NULL,
    PRIMARY KEY (rule, object)
);
COMMENT ON TABLE auth.rls_accepted IS
    'Findings of auth.rls_lint() that are meant; auth.rls_accept() makes entries, and takes them back';
SELECT pg_catalog.pg_extension_config_dump('auth.rls_accepted', '');
REVOKE ALL ON auth.rls_accepted FROM PUBLIC;
GRANT SELECT ON auth.rls_accepted TO PUBLIC;

CREATE FUNCTION auth.rls_lint(OUT rule text, OUT severity text, OUT object text, OUT problem text, OUT fix text, OUT accepted text)
    RETURNS SETOF record LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $function$
SELECT f.rule, f.severity, f.object, f.problem, f.fix, a.reason
  FROM auth.rls_findings() AS f LEFT JOIN auth.rls_accepted AS a USING (rule, object)
 ORDER BY array_position('{error,warning,notice}', f.severity), f.object, f.problem
$function$;
COMMENT ON FUNCTION auth.rls_lint() IS
    'What is unsafe (error, warning) or slow (notice) in the row-level security of this database, each with a statement that mends it, '
    'and why it is accepted where it is';

CREATE FUNCTION auth.rls_accept(rule text, object text, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    -- Who calls; current_user is the owner of this function.
    caller CONSTANT name := CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END;
    may_all CONSTANT boolean := pg_has_role(caller, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE');
    owner oid;
BEGIN
    IF reason = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'reason must not be empty',
            HINT = 'NULL takes an acceptance back.';
    END IF;
    SELECT f.owner INTO owner FROM auth.rls_findings() AS f WHERE f.rule = rls_accept.rule AND f.object = rls_accept.object;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM auth.rls_accepted AS a
                                  WHERE rls_accept.reason IS NULL AND a.rule = rls_accept.rule AND a.object = rls_accept.object
                                    AND (may_all OR a.accepted_by = caller)) THEN
        RAISE undefined_object USING MESSAGE = format('rule %s reports nothing of %s', quote_nullable(rule), quote_nullable(object)),
            HINT = 'Take rule and object from a row of auth.rls_lint().';
    END IF;
    IF NOT may_all AND owner IS NOT NULL AND (owner = 0 OR NOT pg_has_role(caller, owner, 'USAGE')) THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be owner of %s or of the database', object);
    END IF;
    DELETE FROM auth.rls_accepted AS a WHERE a.rule = rls_accept.rule AND a.object = rls_accept.object;
    IF reason IS NOT NULL THEN
        INSERT INTO auth.rls_accepted (rule, object, reason, accepted_by)
        VALUES (rls_accept.rule, rls_accept.object, rls_accept.reason, caller);
    END IF;
END
$function$;
COMMENT ON FUNCTION auth.rls_accept(text, text, text) IS
    'Says that a finding of auth.rls_lint() is meant, and why; without a reason, that it is not. For the owner of the object or of the database';

CREATE FUNCTION auth.rls_assert(severity text DEFAULT 'error') RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    severities CONSTANT text[] := '{error,warning,notice}';
    least CONSTANT integer := array_position(severities, severity);
    findings text[];
BEGIN
    IF least IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('severity %s does not exist', quote_nullable(severity)),
            HINT = 'Use error, warning or notice.';
    END IF;
    SELECT array_agg(format('%s: %s %s (%s).', f.severity, f.object, f.problem, f.rule)) INTO findings
      FROM auth.rls_lint() AS f
     WHERE accepted IS NULL AND array_position(severities, f.severity) <= least;
    IF findings IS NOT NULL THEN
        RAISE assert_failure USING
            MESSAGE = format('row-level security has %s %s', cardinality(findings),
                             CASE cardinality(findings) WHEN 1 THEN 'fault' ELSE 'faults' END),
            DETAIL = array_to_string(findings[:20], E'\n') || CASE WHEN cardinality(findings) > 20 THEN E'\n...' ELSE '' END,
            HINT = 'SELECT * FROM auth.rls_lint() has a fix for each; auth.rls_accept() takes what is meant.';
    END IF;
END
$function$;
COMMENT ON FUNCTION auth.rls_assert(text) IS
    'Raises what auth.rls_lint() reports of this severity or worse, accepted findings left out';

-- An empty schema of somebody else, as a restored dump makes it before its extensions, is taken over.
DO $block$
DECLARE
    schema record;
BEGIN
    SELECT n.oid, nspowner, extowner, pg_get_userbyid(extowner) AS owner INTO STRICT schema
      FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'pg_jwks';
    IF schema.nspowner <> schema.extowner AND NOT EXISTS (
           SELECT FROM pg_depend d
            WHERE refclassid = 'pg_namespace'::regclass AND refobjid = schema.oid AND classid <> 'pg_extension'::regclass
              AND NOT EXISTS (SELECT FROM pg_depend m
                               WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e')) THEN
        RAISE NOTICE USING MESSAGE = format('schema auth now belongs to %I', schema.owner),
            DETAIL = 'Whoever owns it could create functions beside those of pg_jwks.';
        EXECUTE format('ALTER SCHEMA auth OWNER TO %I', schema.owner);
    END IF;
END
$block$;

-- What could stand in front of the functions above, now or later, stops the installation.
DO $block$
DECLARE
    finding record;
BEGIN
    SELECT * INTO finding FROM auth.rls_lint() AS found
     WHERE found.rule IN ('function_in_front', 'create_in_auth')
     LIMIT 1;
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'schema auth is not safe for pg_jwks',
            DETAIL = pg_catalog.format('%s %s.', pg_catalog.initcap(pg_catalog.left(finding.object, 1)) || pg_catalog.substr(finding.object, 2), finding.problem),
            HINT = finding.fix;
    END IF;
END
$block$;
