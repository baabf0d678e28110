import { Hono } from "hono";
import type { Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { type Database, KeysUnavailable, TokenRejected } from "./database.js";
import type { Keys } from "./keys.js";
import { hashPassword, passwordMatches } from "./passwords.js";

interface Login {
  user_id: string;
  password_hash: string;
}

/** The API. `keys` is asked anew for each use, because keys change while it runs. */
export async function makeApp(database: Database, keys: () => Keys, tokenLife: number): Promise<Hono> {
  const app = new Hono();
  // Compared with where there is no such user, so that the answer takes as long.
  const nobodysHash = await hashPassword("");

  app.get("/.well-known/jwks.json", (c) => c.json(keys().jwks, 200, { "Cache-Control": "public, max-age=300" }));

  app.post("/api/token", bodyLimit({ maxSize: 4096 }), async (c) => {
    const { email, password } = await credentials(c);
    const [user] = await database.query<Login>("SELECT * FROM login($1)", [email]);
    const matches = await passwordMatches(password, user?.password_hash ?? nobodysHash);
    if (!user || !matches) throw new HTTPException(401, { message: "wrong email or password" });
    const token = await keys().sign(user.user_id);
    return c.json({ access_token: token, token_type: "Bearer", expires_in: tokenLife }, 200, {
      "Cache-Control": "no-store",
    });
  });

  app.get("/api/users", async (c) => {
    const users = await database.asCaller(bearerToken(c), async (client) => {
      const query = "SELECT id, email, name FROM users WHERE strpos(lower(name), lower($1)) > 0 ORDER BY name";
      return (await client.query(query, [text(c.req.query("name") ?? "")])).rows;
    });
    return c.json(users);
  });

  app.get("/api/tenants", async (c) => {
    const tenants = await database.asCaller(bearerToken(c), async (client) => {
      return (await client.query("SELECT id, name FROM tenants ORDER BY name")).rows;
    });
    return c.json(tenants);
  });

  app.notFound((c) => c.json({ error: "not found" }, 404));

  app.onError((error, c) => {
    if (error instanceof TokenRejected) {
      return c.json({ error: "invalid token" }, 401, { "WWW-Authenticate": 'Bearer error="invalid_token"' });
    }
    if (error instanceof KeysUnavailable) {
      console.error(error.message);
      return c.json({ error: "tokens cannot be verified now" }, 503, { "Retry-After": "5" });
    }
    if (error instanceof HTTPException) return c.json({ error: error.message }, error.status);
    console.error(error);
    return c.json({ error: "internal error" }, 500);
  });

  return app;
}

/** The token of the Authorization header (RFC 6750 section 2.1), not yet verified: the database does that. */
function bearerToken(c: Context): string {
  const [, token] = /^Bearer +([\w~+/.-]+=*) *$/i.exec(c.req.header("Authorization") ?? "") ?? [];
  if (!token) throw new TokenRejected();
  return token;
}

async function credentials(c: Context): Promise<{ email: string; password: string }> {
  const body: unknown = await c.req.json().catch(() => null);
  const { email, password } = (body ?? {}) as Record<string, unknown>;
  if (typeof email !== "string" || typeof password !== "string") {
    throw new HTTPException(400, { message: "email and password are needed" });
  }
  return { email: text(email), password };
}

/** Text that PostgreSQL can hold. */
function text(value: string): string {
  if (value.includes("\0")) throw new HTTPException(400, { message: "NUL is not allowed" });
  return value;
}
