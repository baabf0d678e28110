// node-postgres: logs in with the token on standard input as the password, and prints who the session is: at once, and
// after RESET ALL and DISCARD ALL. The other settings are libpq's: PGHOST and so on.
import { readFileSync } from 'node:fs';
import pg from 'pg';

const token = readFileSync(0, 'utf8').trim();
const freshToken = async () => token;
const ca = readFileSync(process.env.PGSSLROOTCERT, 'utf8');
// docs/login.md: from here
const pool = new pg.Pool({
  password: freshToken, // an async function, called for each connection
  ssl: { ca },
});
// docs/login.md: to here
const client = await pool.connect();
for (const statement of ['SELECT 1', 'RESET ALL', 'DISCARD ALL']) {
  await client.query(statement);
  const { rows } = await client.query("SELECT auth.user_id() || ' ' || length(auth.jwt()::text) AS who");
  console.log(rows[0].who);
}
client.release();
await pool.end();
