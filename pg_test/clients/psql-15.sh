#!/usr/bin/env bash
# psql 15, which cannot bind parameters: the token becomes text of the statement.
set -euo pipefail

psql --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 <<'SQL'
\getenv token TOKEN
BEGIN;
-- docs/poolers.md: from here
SELECT auth.jwt_session_init(:'token', true) \g /dev/null
-- docs/poolers.md: to here
SELECT body FROM note;
COMMIT;
SQL
