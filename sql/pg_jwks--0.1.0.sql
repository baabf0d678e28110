-- pg_jwks 0.1.0. Everything is in schema auth, which CREATE EXTENSION has made.

\echo Use "CREATE EXTENSION pg_jwks" to load this file. \quit

-- Functions that no policy may see the wrong side of are created, never replaced: an object that somebody else made
-- beforehand stops the installation.

CREATE FUNCTION auth.jwt_session_init(token text, is_local boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jwt_session_init_wrapper';
COMMENT ON FUNCTION auth.jwt_session_init(text, boolean) IS
    'Verifies a JWT and makes its claims the identity of the session, or of the transaction where is_local';

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

-- These cost ten times a comparison; the planner then makes the comparisons of a policy first.
CREATE FUNCTION auth.claim(VARIADIC path text[]) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'claim_wrapper';
COMMENT ON FUNCTION auth.claim(text[]) IS 'One claim by its path: scalars as plain text, objects and arrays as JSON';

CREATE FUNCTION auth.has_scope(scope text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'has_scope_wrapper';
COMMENT ON FUNCTION auth.has_scope(text) IS 'Whether claim scope or scp has this scope; never NULL';

CREATE FUNCTION auth.has_role(role text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'has_role_wrapper';
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
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 11 AS 'MODULE_PATHNAME', 'jwt_explain_wrapper';
COMMENT ON FUNCTION auth.jwt_explain(text) IS 'Why a token would be accepted or rejected, one row a check; changes nothing';

CREATE FUNCTION auth.jwks(OUT issuer text, OUT kid text, OUT kty text, OUT alg text, OUT use text, OUT source text,
        OUT fetched_at timestamptz, OUT refresh_at timestamptz, OUT expires_at timestamptz, OUT stale boolean,
        OUT last_error text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'jwks_wrapper';
COMMENT ON FUNCTION auth.jwks() IS 'The keys in use, and how their last fetch went';

CREATE FUNCTION auth.jwks_refresh() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jwks_refresh_wrapper';
COMMENT ON FUNCTION auth.jwks_refresh() IS 'Fetches the keys of this session''s issuers now';

CREATE FUNCTION auth.jwt_counters(OUT counter text, OUT reason text, OUT value bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 30 AS 'MODULE_PATHNAME', 'jwt_counters_wrapper';
COMMENT ON FUNCTION auth.jwt_counters() IS 'What the view auth.jwt_stats shows';

CREATE VIEW auth.jwt_stats AS
    SELECT coalesce(sum(value) FILTER (WHERE counter = 'accepted'), 0)::bigint AS accepted,
           coalesce(sum(value) FILTER (WHERE counter = 'remembered'), 0)::bigint AS cache_hits,
           coalesce(sum(value) FILTER (WHERE counter = 'rejected'), 0)::bigint AS rejected,
           coalesce(jsonb_object_agg(reason, value) FILTER (WHERE counter = 'rejected' AND value > 0), '{}') AS rejected_by_reason,
           coalesce(sum(value) FILTER (WHERE counter = 'fetches'), 0)::bigint AS fetches,
           coalesce(sum(value) FILTER (WHERE counter = 'fetch_failures'), 0)::bigint AS fetch_failures,
           (SELECT clock_timestamp() - min(fetched_at) FROM auth.jwks()) AS key_age
      FROM auth.jwt_counters();
COMMENT ON VIEW auth.jwt_stats IS
    'What became of tokens and fetches: in the cluster where the library is preloaded, otherwise in this backend';

REVOKE ALL ON FUNCTION auth.jwks(), auth.jwks_refresh(), auth.jwt_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth.jwks(), auth.jwt_counters() TO pg_monitor;
GRANT SELECT ON auth.jwt_stats TO pg_monitor;

GRANT USAGE ON SCHEMA auth TO PUBLIC;

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
