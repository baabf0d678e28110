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
SELECT 'CREATE ROLE app NOLOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') \gexec

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
            USING (tenant_id = (SELECT auth.tenant_id()))
            WITH CHECK (tenant_id = (SELECT auth.tenant_id()))', relid)
  FROM pg_partition_tree('partitions.event') \gexec

GRANT USAGE ON SCHEMA partitions TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON partitions.event TO app;

COMMIT;

-- Try it: without a token there are no rows.
SET ROLE app;
SELECT count(*) AS events FROM partitions.event;
RESET ROLE;
