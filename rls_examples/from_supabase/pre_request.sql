-- For PostgREST: db-pre-request = "public.verify_request".
CREATE FUNCTION public.verify_request() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    header text := nullif(current_setting('request.headers', true), '')::json ->> 'authorization';
BEGIN
    -- supabase-js sends the anonymous key as a bearer token when nobody is signed in. It names nobody, and PostgREST has taken
    -- the role of those without rights for it.
    IF header ~* '^bearer ' AND current_user <> 'anon' THEN
        PERFORM auth.jwt_session_init(trim(substr(header, 8)), true);
    END IF;
END $$;
