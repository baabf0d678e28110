-- Unchanged.
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE boards ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;

CREATE POLICY "crud-authenticated-policy-select" ON notes FOR SELECT TO authenticated
    USING ((SELECT auth.user_id() = notes.user_id));
CREATE POLICY "crud-authenticated-policy-insert" ON notes FOR INSERT TO authenticated
    WITH CHECK ((SELECT auth.user_id() = notes.user_id));
CREATE POLICY "crud-authenticated-policy-update" ON notes FOR UPDATE TO authenticated
    USING ((SELECT auth.user_id() = notes.user_id)) WITH CHECK ((SELECT auth.user_id() = notes.user_id));
CREATE POLICY "crud-authenticated-policy-delete" ON notes FOR DELETE TO authenticated
    USING ((SELECT auth.user_id() = notes.user_id));
CREATE POLICY "shared notes are public" ON notes FOR SELECT TO anonymous USING (shared);

CREATE POLICY "members share boards" ON boards TO authenticated
    USING (organization_id = auth.organization_id());
CREATE POLICY "admins delete boards" ON boards AS RESTRICTIVE FOR DELETE TO authenticated
    USING ((auth.organization() ->> 'role') IN ('admin', 'owner'));
CREATE POLICY "verified addresses only" ON notes AS RESTRICTIVE TO authenticated
    USING ((auth.session() ->> 'email_verified')::boolean);
CREATE POLICY "own account" ON accounts FOR SELECT TO authenticated USING (id = auth.uid());
