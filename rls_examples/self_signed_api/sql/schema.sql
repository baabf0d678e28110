-- As the owner of the tables to be, who may create extensions and roles, in the service's database.
CREATE EXTENSION IF NOT EXISTS pg_jwks;

-- The service connects as this role. It owns nothing; give it a password with \password api.
CREATE ROLE api LOGIN;

CREATE TABLE tenants (
    id   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE
);

-- Columns id and tenant_id of this table are where pg_jwks looks up the tenant of a user, unless told otherwise.
CREATE TABLE users (
    id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants,
    email     text NOT NULL,
    name      text NOT NULL
);
CREATE INDEX ON users (tenant_id);
CREATE UNIQUE INDEX ON users (lower(email));

-- Nobody but the owner reads these.
CREATE TABLE credentials (
    user_id       uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    password_hash text NOT NULL
);

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON tenants USING (id = get_current_user_tenant_id());
CREATE POLICY own_tenant ON users USING (tenant_id = get_current_user_tenant_id());
GRANT SELECT ON tenants, users TO api;

-- What a login needs before there is an identity, for one address at a time.
CREATE FUNCTION login(email text, OUT user_id uuid, OUT password_hash text) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT users.id, credentials.password_hash
          FROM users JOIN credentials ON credentials.user_id = users.id
         WHERE lower(users.email) = lower(login.email);
    END;
REVOKE ALL ON FUNCTION login(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION login(text) TO api;
SELECT auth.rls_accept('function_of_owner', 'function public.login(text)', 'a login has no identity yet, and names one user');
