-- Settings for identity providers, with the names of an example in place of yours.

-- README: from here
-- Auth0
ALTER SYSTEM SET pg_jwks.issuer = 'https://example.eu.auth0.com/';                      -- with the slash
ALTER SYSTEM SET pg_jwks.audience = 'https://db.example.com';                           -- the API's identifier
ALTER SYSTEM SET pg_jwks.role_claim = 'https://example.com/roles';
ALTER SYSTEM SET pg_jwks.tenant_claim = 'org_id';

-- Keycloak
ALTER SYSTEM SET pg_jwks.issuer = 'https://sso.example.com/realms/example';
ALTER SYSTEM SET pg_jwks.audience = 'db';
ALTER SYSTEM SET pg_jwks.role_claim = 'realm_access.roles';

-- Microsoft Entra ID
ALTER SYSTEM SET pg_jwks.issuer = 'https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0';
ALTER SYSTEM SET pg_jwks.audience = '66666666-7777-8888-9999-000000000000';             -- the API's client ID
ALTER SYSTEM SET pg_jwks.role_claim = 'roles';
ALTER SYSTEM SET pg_jwks.tenant_claim = 'tid';
ALTER SYSTEM SET pg_jwks.authn_claim = 'oid';

-- Google
ALTER SYSTEM SET pg_jwks.issuer = 'https://accounts.google.com';
ALTER SYSTEM SET pg_jwks.audience = '1234567890-example.apps.googleusercontent.com';    -- the client ID
ALTER SYSTEM SET pg_jwks.tenant_claim = 'hd';

-- Okta
ALTER SYSTEM SET pg_jwks.issuer = 'https://example.okta.com/oauth2/default';
ALTER SYSTEM SET pg_jwks.audience = 'api://default';
ALTER SYSTEM SET pg_jwks.role_claim = 'groups';

-- Neon Auth
ALTER SYSTEM SET pg_jwks.issuer = 'https://ep-example.neonauth.eu-central-1.aws.neon.tech';    -- the URL without its path
ALTER SYSTEM SET pg_jwks.audience = 'https://ep-example.neonauth.eu-central-1.aws.neon.tech';
ALTER SYSTEM SET pg_jwks.jwks_uri =
  'https://ep-example.neonauth.eu-central-1.aws.neon.tech/neondb/auth/.well-known/jwks.json';
ALTER SYSTEM SET pg_jwks.role_claim = 'o.role';
ALTER SYSTEM SET pg_jwks.tenant_claim = 'o.id';

-- Stack Auth
ALTER SYSTEM SET pg_jwks.issuer = 'https://api.stack-auth.com/api/v1/projects/11111111-2222-3333-4444-555555555555';
ALTER SYSTEM SET pg_jwks.audience = '11111111-2222-3333-4444-555555555555';             -- the project's ID
ALTER SYSTEM SET pg_jwks.jwks_uri =
  'https://api.stack-auth.com/api/v1/projects/11111111-2222-3333-4444-555555555555/.well-known/jwks.json';

-- Supabase Auth
ALTER SYSTEM SET pg_jwks.issuer = 'https://abcdefghijklmnopqrst.supabase.co/auth/v1';
ALTER SYSTEM SET pg_jwks.audience = 'authenticated';
ALTER SYSTEM SET pg_jwks.jwks_uri = 'https://abcdefghijklmnopqrst.supabase.co/auth/v1/.well-known/jwks.json';
ALTER SYSTEM SET pg_jwks.tenant_claim = 'app_metadata.tenant_id';
-- README: to here
