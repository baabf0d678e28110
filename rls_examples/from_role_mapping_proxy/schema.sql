-- The database as it was behind the proxy, and the extension.
CREATE EXTENSION pg_jwks;

-- LOGIN and no password: people log in with tokens that name the role.
CREATE ROLE app_reader LOGIN;
CREATE ROLE app_writer LOGIN IN ROLE app_reader;
CREATE ROLE app_admin LOGIN IN ROLE app_writer;
-- Applications connect as this role, which may do nothing until a token gives it one of the others.
CREATE ROLE gateway LOGIN NOINHERIT IN ROLE app_reader, app_writer, app_admin;

CREATE TABLE projects (
    id        int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL DEFAULT current_setting('app.tenant_id'),
    owner     text NOT NULL DEFAULT current_setting('app.user_id'),
    name      text NOT NULL
);
CREATE INDEX ON projects (tenant_id);

CREATE TABLE invoices (tenant_id text NOT NULL, amount int NOT NULL);
CREATE INDEX ON invoices (tenant_id);

INSERT INTO projects (tenant_id, owner, name) VALUES
    ('org_acme', 'auth0|alice', 'Apollo'), ('org_acme', 'auth0|arthur', 'Artemis'), ('org_globex', 'auth0|bob', 'Borg');
INSERT INTO invoices VALUES ('org_acme', 100), ('org_globex', 200);

GRANT SELECT ON projects, invoices TO app_reader;
GRANT INSERT, UPDATE ON projects TO app_writer;
GRANT DELETE ON projects TO app_admin;
