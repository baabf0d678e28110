/** What the service is told by its environment. */
export interface Config {
  /** The database, as the role that owns nothing. */
  databaseUrl: string;
  /** `iss` of the tokens, to the letter as in `pg_jwks.issuer`. */
  issuer: string;
  /** `aud` of the tokens, one of `pg_jwks.audience`. */
  audience: string;
  keysFolder: string;
  host: string;
  port: number;
  poolSize: number;
  /** Life of a token in seconds. */
  tokenLife: number;
}

const HELP = `Set DATABASE_URL, for example
  DATABASE_URL=postgres://api:password@127.0.0.1:5432/app npm start

Optional:
  HOST, PORT    where to listen                 (127.0.0.1, 3000)
  ISSUER        "iss" of the tokens             (http://HOST:PORT)
  AUDIENCE      "aud" of the tokens             (self_signed_api)
  KEYS_FOLDER   private keys                    (keys)
  POOL_SIZE     connections to the database     (10)
  TOKEN_LIFE    of a token, in seconds          (900)`;

/** The configuration; ends the process with an explanation where it is incomplete. */
export function configFromEnvironment(): Config {
  const { DATABASE_URL, HOST = "127.0.0.1", ISSUER, AUDIENCE = "self_signed_api", KEYS_FOLDER = "keys" } = process.env;
  const port = positive("PORT", 3000);
  if (!DATABASE_URL) fail(HELP);
  return {
    databaseUrl: DATABASE_URL,
    issuer: ISSUER ?? `http://${HOST}:${port}`,
    audience: AUDIENCE,
    keysFolder: KEYS_FOLDER,
    host: HOST,
    port,
    poolSize: positive("POOL_SIZE", 10),
    tokenLife: positive("TOKEN_LIFE", 900),
  };
}

function positive(name: string, otherwise: number): number {
  const number = Number(process.env[name] ?? otherwise);
  return Number.isInteger(number) && number > 0 ? number : fail(`${name} must be a positive whole number.`);
}

/** Ends the process with a message. */
export function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
