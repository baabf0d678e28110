-- Unchanged.
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoices ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON projects
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY own_projects ON projects AS RESTRICTIVE FOR UPDATE
    USING (owner = current_setting('app.user_id', true)
           OR nullif(current_setting('app.roles', true), '')::jsonb ? 'admin');
CREATE POLICY admins ON invoices
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')
           AND nullif(current_setting('app.roles', true), '')::jsonb ? 'admin');
