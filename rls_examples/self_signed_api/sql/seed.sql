-- Two tenants with two users each. They have no passwords yet: npm run set-password gives them one.
INSERT INTO tenants (id, name) VALUES
    ('a0000000-0000-4000-8000-000000000000', 'Acme'),
    ('b0000000-0000-4000-8000-000000000000', 'Globex');
INSERT INTO users (tenant_id, email, name) VALUES
    ('a0000000-0000-4000-8000-000000000000', 'alice@acme.example', 'Alice'),
    ('a0000000-0000-4000-8000-000000000000', 'arthur@acme.example', 'Arthur'),
    ('b0000000-0000-4000-8000-000000000000', 'bob@globex.example', 'Bob'),
    ('b0000000-0000-4000-8000-000000000000', 'bea@globex.example', 'Bea');
