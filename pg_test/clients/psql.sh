#!/usr/bin/env bash
# psql 16 and later: the notes of whom the token in $TOKEN speaks of. Where the server is, PGHOST and the like say.
set -euo pipefail

# docs/poolers.md: from here
psql --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 <<'SQL'
\getenv token TOKEN
BEGIN;
SELECT auth.jwt_session_init($1, true) \bind :token \g /dev/null
SELECT body FROM note;
COMMIT;
SQL
# docs/poolers.md: to here
