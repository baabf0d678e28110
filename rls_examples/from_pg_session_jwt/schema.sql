-- Tables of an application that used pg_session_jwt.
CREATE ROLE authenticated LOGIN;
CREATE ROLE anonymous NOLOGIN;

CREATE TABLE notes (
    id      int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL DEFAULT auth.user_id(),
    body    text NOT NULL,
    shared  boolean NOT NULL DEFAULT false
);
CREATE TABLE boards (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid NOT NULL DEFAULT auth.organization_id(),
    name            text NOT NULL
);
CREATE TABLE accounts (id uuid PRIMARY KEY, plan text NOT NULL);

INSERT INTO notes (user_id, body) VALUES
    ('a11ce000-0000-4000-8000-000000000001', 'sow'), ('b0b00000-0000-4000-8000-000000000002', 'reap');
INSERT INTO boards (organization_id, name) VALUES
    ('ac000000-0000-4000-8000-000000000000', 'Anvils'), ('91000000-0000-4000-8000-000000000000', 'Lamps');
INSERT INTO accounts VALUES
    ('a11ce000-0000-4000-8000-000000000001', 'paid'), ('b0b00000-0000-4000-8000-000000000002', 'free');
GRANT SELECT, INSERT, UPDATE, DELETE ON notes, boards, accounts TO authenticated;
GRANT SELECT ON notes TO anonymous;
