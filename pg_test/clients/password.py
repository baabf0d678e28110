"""psycopg 3 and its pool, psycopg 2 and asyncpg: logs in with the token on standard input as the password.

Prints who the session is: at once, and after RESET ALL and DISCARD ALL. The other settings are libpq's: PGHOST and so on."""

import asyncio
import os
import sys

QUERY = "SELECT auth.user_id() || ' ' || length(auth.jwt()::text)"


def psycopg3(token):
    import psycopg

    # docs/login.md: from here
    connection = psycopg.connect(password=token, sslmode="verify-full", autocommit=True)
    # docs/login.md: to here
    for statement in ["SELECT 1", "RESET ALL", "DISCARD ALL"]:
        connection.execute(statement)
        print(connection.execute(QUERY).fetchone()[0])


def psycopg_pool(token):
    from psycopg_pool import ConnectionPool

    def settings():
        return {"password": token, "sslmode": "verify-full", "autocommit": True}

    # docs/login.md: from here
    pool = ConnectionPool(kwargs=settings, open=True)  # a function that is called for each connection
    # docs/login.md: to here
    with pool.connection() as connection:
        for statement in ["SELECT 1", "RESET ALL", "DISCARD ALL"]:
            connection.execute(statement)
            print(connection.execute(QUERY).fetchone()[0])
    pool.close()


def psycopg2(token):
    import psycopg2

    # docs/login.md: from here
    connection = psycopg2.connect(password=token, sslmode="verify-full")
    # docs/login.md: to here
    connection.autocommit = True
    cursor = connection.cursor()
    for statement in ["SELECT 1", "RESET ALL", "DISCARD ALL"]:
        cursor.execute(statement)
        cursor.execute(QUERY)
        print(cursor.fetchone()[0])


def asyncpg(token):
    import asyncpg

    async def fresh_token():
        return token

    async def run():
        # docs/login.md: from here
        pool = await asyncpg.create_pool(password=fresh_token, ssl="verify-full")  # called for each connection
        # docs/login.md: to here
        await pool.close()
        # It does not notice that DISCARD ALL takes its prepared statements.
        settings = dict(password=fresh_token, ssl="verify-full", statement_cache_size=0, min_size=1)
        async with asyncpg.create_pool(**settings) as pool, pool.acquire() as connection:
            for statement in ["SELECT 1", "RESET ALL", "DISCARD ALL"]:
                await connection.execute(statement)
                print(await connection.fetchval(QUERY))

    os.environ["PGSSLMODE"] = "verify-full"
    asyncio.run(run())


drivers = {"psycopg3": psycopg3, "psycopg_pool": psycopg_pool, "psycopg2": psycopg2, "asyncpg": asyncpg}
drivers[sys.argv[1]](sys.stdin.readline().strip())
