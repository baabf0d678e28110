-- A project as its dump has it: Supabase's roles, schema auth with users and functions, and tables of the application.
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticated NOLOGIN;
CREATE ROLE service_role NOLOGIN BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT IN ROLE anon, authenticated, service_role;

CREATE SCHEMA auth;
GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text, raw_app_meta_data jsonb);

-- They believe what request.jwt.claims says, whoever has set it.
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT (auth.jwt() ->> 'sub')::uuid $$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS $$ SELECT auth.jwt() ->> 'role' $$;
CREATE FUNCTION auth.email() RETURNS text LANGUAGE sql STABLE AS $$ SELECT auth.jwt() ->> 'email' $$;

CREATE TABLE profiles (
    id       uuid PRIMARY KEY REFERENCES auth.users ON DELETE CASCADE,
    username text NOT NULL,
    listed   boolean NOT NULL DEFAULT false
);
CREATE TABLE todos (
    id      int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL DEFAULT auth.uid() REFERENCES auth.users,
    task    text NOT NULL
);
CREATE TABLE documents (
    id      int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    team_id text NOT NULL,
    title   text NOT NULL
);

INSERT INTO auth.users VALUES
    ('a11ce000-0000-4000-8000-000000000001', 'alice@acme.example', '{"team_id": "acme"}'),
    ('b0b00000-0000-4000-8000-000000000002', 'bob@globex.example', '{"team_id": "globex"}');
INSERT INTO profiles VALUES
    ('a11ce000-0000-4000-8000-000000000001', 'alice', true), ('b0b00000-0000-4000-8000-000000000002', 'bob', false);
INSERT INTO todos (user_id, task) VALUES
    ('a11ce000-0000-4000-8000-000000000001', 'sow'), ('b0b00000-0000-4000-8000-000000000002', 'reap');
INSERT INTO documents (team_id, title) VALUES ('acme', 'Anvils'), ('globex', 'Lamps');
GRANT SELECT, INSERT, UPDATE, DELETE ON profiles, todos, documents TO anon, authenticated, service_role;
