-- As a superuser, in the service's database: trust the service's tokens there. For another address than the demo's:
-- psql -v url=https://api.example.com < trust.sql
\if :{?url}
\else
    \set url http://127.0.0.1:3000
\endif
\set jwks_uri :url '/.well-known/jwks.json'
SELECT current_database() AS db, CASE WHEN :'url' LIKE 'http:%' THEN 'on' ELSE 'off' END AS insecure \gset
ALTER DATABASE :"db" SET pg_jwks.issuer = :'url';
ALTER DATABASE :"db" SET pg_jwks.audience = 'self_signed_api';
ALTER DATABASE :"db" SET pg_jwks.jwks_uri = :'jwks_uri';
-- Plain http: is for a service on the database's own machine. Anywhere else, whoever sits between the two could bring
-- keys of their own.
ALTER DATABASE :"db" SET pg_jwks.allow_insecure_http = :'insecure';
-- A belt: an identity that outlives its transaction, and with it the request, is refused.
ALTER DATABASE :"db" SET pg_jwks.session_scope = 'transaction';
