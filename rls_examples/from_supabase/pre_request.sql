-- For PostgREST: db-pre-request = "public.verify_request".
CREATE FUNCTION public.verify_request() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    header text := nullif(current_setting('request.headers', true), '')::json ->> 'authorization';
BEGIN
    IF header ~* '^bearer ' THEN
        PERFORM auth.jwt_session_init(trim(substr(header, 8)), true);
    END IF;
END $$;
