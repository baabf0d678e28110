"""psycopg 3: for each token on standard input, the notes of its user; then the notes of nobody.

All on one connection, as from a pool. Each line printed is a JSON list, or an error."""

import json
import sys

import psycopg


# docs/poolers.md: from here
def notes(connection, token):  # of psycopg.connect(..., autocommit=True)
    with connection.transaction():
        connection.execute("SELECT auth.jwt_session_init(%s, true)", [token])
        return connection.execute("SELECT body FROM note").fetchall()
# docs/poolers.md: to here


with psycopg.connect(autocommit=True) as connection:
    for line in sys.stdin:
        try:
            print(json.dumps([body for (body,) in notes(connection, line.strip())]))
        except psycopg.Error as error:
            print(f"{error.sqlstate} {error.diag.message_primary}")
    print(json.dumps(connection.execute("SELECT body FROM note").fetchall()))
