-- Unchanged.
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE settings ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON orders
    USING (tenant_id = nullif(current_setting('orochi.tenant_id', true), '')::integer);
CREATE POLICY own_branch ON orders AS RESTRICTIVE
    USING (branch_id = current_setting('orochi.branch_id', true)
           OR coalesce(nullif(current_setting('orochi.permission_level', true), '')::int, 0) >= 3);
CREATE POLICY writers_insert ON orders AS RESTRICTIVE FOR INSERT
    WITH CHECK (coalesce(nullif(current_setting('orochi.permission_level', true), '')::int, 0) >= 2);
CREATE POLICY writers_update ON orders AS RESTRICTIVE FOR UPDATE
    USING (coalesce(nullif(current_setting('orochi.permission_level', true), '')::int, 0) >= 2);
CREATE POLICY admins_delete ON orders AS RESTRICTIVE FOR DELETE
    USING (coalesce(nullif(current_setting('orochi.permission_level', true), '')::int, 0) >= 3);

-- Without nullif, as many have it: see the README.
CREATE POLICY tenant_isolation ON settings
    USING (tenant_id = current_setting('orochi.tenant_id', true)::integer);
