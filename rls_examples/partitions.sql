-- Partitioned tables.
--
-- When: a table with tenants is large enough to be partitioned.
-- The policies: that of the partitioned table holds for all that comes through it. A partition that is named itself
-- has only its own: here the application has no right on any of them, and each has RLS with the same policy, so that a
-- grant too many shows nothing. Do the same with each partition that is added or attached.
-- Cost: the tenant is known when the statement runs, and then the other tenants' partitions are not scanned.
-- Undo: DROP SCHEMA partitions CASCADE; ALTER DATABASE ... RESET pg_jwks.tenant_claim;

BEGIN;

CREATE EXTENSION IF NOT EXISTS pg_jwks;
SELECT 'CREATE ROLE app NOLOGIN' FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolcreaterole)
   AND to_regrole('app') IS NULL \gexec
DO $$
DECLARE
    before CONSTANT text := current_setting('role');
BEGIN
    IF to_regnamespace('partitions') IS NOT NULL THEN
        RAISE duplicate_schema USING MESSAGE = 'schema "partitions" already exists', HINT = 'To begin anew, run the line Undo above.';
    END IF;
    PERFORM set_config('role', 'app', true);
    PERFORM set_config('role', before, true);
EXCEPTION WHEN insufficient_privilege OR invalid_parameter_value THEN
    RAISE USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM,
        HINT = format('A superuser first runs: CREATE ROLE app NOLOGIN; GRANT app TO %I;', current_user);
END
$$;

-- For sessions to come. Needs a superuser, or GRANT SET ON PARAMETER pg_jwks.tenant_claim.
ALTER DATABASE :"DBNAME" SET pg_jwks.tenant_claim = 'tenant_id';

CREATE SCHEMA partitions;

CREATE TABLE partitions.event (
    tenant_id text NOT NULL DEFAULT auth.tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    body text NOT NULL,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY HASH (tenant_id);
CREATE TABLE partitions.event_0 PARTITION OF partitions.event FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE partitions.event_1 PARTITION OF partitions.event FOR VALUES WITH (MODULUS 2, REMAINDER 1);

INSERT INTO partitions.event (tenant_id, id, body) VALUES
    ('acme', '00000000-0000-4000-8000-000000000001', 'started'),
    ('acme', '00000000-0000-4000-8000-000000000002', 'stopped'),
    ('globex', '00000000-0000-4000-8000-000000000003', 'started');

SELECT format('ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON %1$s
            USING (tenant_id = auth.tenant_id())
            WITH CHECK (tenant_id = auth.tenant_id())', relid)
  FROM pg_partition_tree('partitions.event') \gexec

GRANT USAGE ON SCHEMA partitions TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON partitions.event TO app;

COMMIT;

-- Try it: the rows of two users, by identities without a token.
SELECT has_function_privilege('auth.assume_identity(jsonb, boolean)', 'EXECUTE') AS may_assume \gset
\if :may_assume
    BEGIN;
    SET LOCAL pg_jwks.tenant_claim = 'tenant_id';
    SELECT auth.assume_identity('{"sub": "alice", "tenant_id": "acme"}', true) \gset
    SET LOCAL ROLE app;
    SELECT auth.user_id() AS "user", body FROM partitions.event;
    COMMIT;
    BEGIN;
    SET LOCAL pg_jwks.tenant_claim = 'tenant_id';
    SELECT auth.assume_identity('{"sub": "bob", "tenant_id": "globex"}', true) \gset
    SET LOCAL ROLE app;
    SELECT auth.user_id() AS "user", body FROM partitions.event;
    COMMIT;
\else
    \echo 'To see rows here, a superuser first grants EXECUTE on auth.assume_identity() to you.'
\endif
