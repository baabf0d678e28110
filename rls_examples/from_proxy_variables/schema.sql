-- The database as it was behind the proxy, and the extension.
CREATE EXTENSION pg_jwks;
CREATE ROLE app LOGIN;

CREATE TABLE orders (
    id        int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL,
    branch_id text NOT NULL,
    placed_by text NOT NULL DEFAULT current_setting('orochi.user_id', true),
    item      text NOT NULL
);
CREATE INDEX ON orders (tenant_id);

CREATE TABLE settings (tenant_id integer PRIMARY KEY, theme text NOT NULL);

INSERT INTO orders (tenant_id, branch_id, placed_by, item) VALUES
    (1, 'main', 'alice', 'anvil'), (1, 'east', 'arthur', 'rope'), (2, 'main', 'bob', 'lamp'), (2, 'main', 'bea', 'rug');
INSERT INTO settings VALUES (1, 'dark'), (2, 'light');
GRANT SELECT, INSERT, UPDATE, DELETE ON orders, settings TO app;
