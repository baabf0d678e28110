-- Unchanged.
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE todos ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;

CREATE POLICY "Listed profiles are public." ON profiles FOR SELECT TO anon, authenticated USING (listed);
CREATE POLICY "Users see their own profile." ON profiles FOR SELECT TO authenticated
    USING ((SELECT auth.uid()) = id);
CREATE POLICY "Users can update own profile." ON profiles FOR UPDATE TO authenticated
    USING ((SELECT auth.uid()) = id) WITH CHECK ((SELECT auth.uid()) = id);

CREATE POLICY "Individuals can view their own todos." ON todos FOR SELECT TO authenticated
    USING ((SELECT auth.uid()) = user_id);
CREATE POLICY "Individuals can create todos." ON todos FOR INSERT TO authenticated
    WITH CHECK ((SELECT auth.uid()) = user_id);
CREATE POLICY "Individuals can update their own todos." ON todos FOR UPDATE TO authenticated
    USING (auth.uid() = user_id);
CREATE POLICY "Individuals can delete their own todos." ON todos FOR DELETE TO authenticated
    USING (auth.uid() = user_id);

CREATE POLICY "Teams share documents." ON documents TO authenticated
    USING (team_id = (SELECT auth.jwt() -> 'app_metadata' ->> 'team_id'));
CREATE POLICY "Editing needs a second factor." ON documents AS RESTRICTIVE FOR UPDATE
    USING ((SELECT auth.jwt() ->> 'aal') = 'aal2');
COMMENT ON POLICY "Teams share documents." ON documents IS 'team_id comes from app_metadata';
