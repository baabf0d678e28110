// node-postgres: for each token on standard input, the notes of its user; then the notes of nobody.
// All by a pool of one connection. Each line printed is a JSON list, or an error.
import { createInterface } from 'node:readline';
import pg from 'pg';

// docs/poolers.md: from here
async function notes(pool, token) {
  const client = await pool.connect();
  let failure;
  try {
    await client.query('BEGIN');
    await client.query('SELECT auth.jwt_session_init($1, true)', [token]);
    const { rows } = await client.query('SELECT body FROM note');
    await client.query('COMMIT');
    return rows;
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    client.release(failure); // after an error the connection is closed
  }
}
// docs/poolers.md: to here

const pool = new pg.Pool({ max: 1 });
for await (const token of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify((await notes(pool, token)).map((row) => row.body)));
  } catch (error) {
    console.log(error.code, error.message);
  }
}
console.log(JSON.stringify((await pool.query('SELECT body FROM note')).rows));
await pool.end();
