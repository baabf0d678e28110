import { randomBytes } from "node:crypto";
import { fail } from "./config.js";
import { hashPassword } from "./passwords.js";

// Prints SQL instead of connecting: psql knows how the owner of the tables logs in, by the socket and its operating system
// user on most machines.
const [email = ""] = process.argv.slice(2);
if (!/^[^\s'$\\]+@[^\s'$\\]+$/.test(email)) {
  fail("npm run --silent set-password alice@acme.example | psql -d app");
}
const password = randomBytes(18).toString("base64url");
console.log(`DO $set_password$
BEGIN
    INSERT INTO credentials SELECT id, '${await hashPassword(password)}' FROM users WHERE lower(email) = lower('${email}')
    ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = 'There is no user ${email}.';
    END IF;
END
$set_password$;`);
console.error(password);
