-- Tests of policies with pgTAP: copy this file, and put your tables and users in.
--
--     pg_prove -d mydb policies.sql
--
-- Run it as a superuser, or as a role that is a member of app and may execute auth.assume_identity(). It leaves nothing behind.
-- The table is that of docs/tenants.md: invoice, isolated by tenant.

BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(8);

SELECT lives_ok('SELECT auth.rls_assert(''warning'')', 'the database has no fault that auth.rls_lint() finds');

INSERT INTO invoice (tenant_id, number) VALUES
    ('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'of A'),
    ('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', 'of B');

CREATE FUNCTION pg_temp.become(sub text, tenant text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RESET ROLE;
    PERFORM auth.assume_identity(jsonb_build_object('sub', sub, 'tenant_id', tenant), true);
    SET LOCAL ROLE app;
END
$$;

SELECT pg_temp.become('alice', 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa');
SELECT results_eq('SELECT number FROM invoice', ARRAY['of A'], 'alice reads the rows of her tenant');
SELECT lives_ok('INSERT INTO invoice (number) VALUES (''new'')', 'alice adds a row to her tenant');
SELECT throws_ok(
    'INSERT INTO invoice (tenant_id, number) VALUES (''bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb'', ''planted'')', '42501', NULL,
    'alice adds none to another');
SELECT is_empty('UPDATE invoice SET number = number WHERE number = ''of B'' RETURNING id', 'alice changes no row of another tenant');
SELECT is_empty('DELETE FROM invoice WHERE number = ''of B'' RETURNING id', 'alice removes none');

SELECT pg_temp.become('bob', 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb');
SELECT results_eq('SELECT number FROM invoice', ARRAY['of B'], 'bob reads the rows of his');

RESET ROLE;
SELECT auth.jwt_session_clear();
SET LOCAL ROLE app;
SELECT is_empty('SELECT number FROM invoice', 'without an identity there are no rows');

SELECT * FROM finish();
ROLLBACK;
