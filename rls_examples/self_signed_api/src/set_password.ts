import { randomBytes } from "node:crypto";
import pg from "pg";
import { fail } from "./config.js";
import { hashPassword } from "./passwords.js";

const [email] = process.argv.slice(2);
const { OWNER_DATABASE_URL } = process.env;
if (!email || !OWNER_DATABASE_URL) {
  fail("OWNER_DATABASE_URL=postgres://owner:password@127.0.0.1/app npm run set-password alice@acme.example");
}
const password = randomBytes(18).toString("base64url");
const client = new pg.Client(OWNER_DATABASE_URL);
await client.connect();
const { rowCount } = await client.query(
  `INSERT INTO credentials SELECT id, $2 FROM users WHERE lower(email) = lower($1)
   ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash`,
  [email, await hashPassword(password)],
);
await client.end();
if (!rowCount) fail(`There is no user ${email}.`);
console.log(password);
