import pg from "pg";

/** The caller's token is not, or no longer, good: 401. */
export class TokenRejected extends Error {}
/** The database cannot judge tokens now, for want of a setting or of keys: 503. */
export class KeysUnavailable extends Error {}

// What auth.jwt_session_init() raises for a token that is not accepted, and for text that is none.
const REJECTED = ["28000", "22023", "22P05"];
const UNAVAILABLE = "55000";

/** The service's connections, all of one role. */
export class Database {
  readonly #pool: pg.Pool;

  constructor(url: string, size: number) {
    this.#pool = new pg.Pool({
      connectionString: url,
      max: size,
      connectionTimeoutMillis: 10_000,
      statement_timeout: 10_000,
    });
    // A connection that breaks while idle is replaced; unhandled, its error would end the process.
    this.#pool.on("error", (error) => console.error(`idle connection: ${error.message}`));
  }

  /** Refuses to go on as a role that row-level security does not bind. */
  async requireBoundRole(): Promise<void> {
    const { rows } = await this.#pool.query(
      `SELECT current_user AS role FROM pg_roles
        WHERE rolname = current_user
          AND (rolsuper OR rolbypassrls
               OR EXISTS (SELECT FROM pg_class WHERE relrowsecurity AND pg_has_role(relowner, 'USAGE')))`,
    );
    if (rows.length) {
      throw new Error(`"${rows[0].role}" is a superuser, has BYPASSRLS or owns tables: policies would not bind it.`);
    }
  }

  /** A query without identity: it sees no tenant's rows. */
  async query<Row extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<Row[]> {
    return (await this.#pool.query<Row>(text, values)).rows;
  }

  /** Queries as the bearer of the token: the identity ends with the transaction, whatever becomes of it. */
  async asCaller<T>(token: string, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    let broken: Error | undefined;
    try {
      await client.query("BEGIN");
      await client.query("SELECT auth.jwt_session_init($1, true)", [token]).catch(judge);
      const result = await work(client);
      await client.query("COMMIT");
      return result;
    } catch (error) {
      await client.query("ROLLBACK").catch((failure: Error) => (broken = failure));
      // The token may also expire between two statements.
      throw sqlstate(error) === "28000" ? new TokenRejected() : error;
    } finally {
      // A connection whose state is unknown is closed instead of pooled.
      client.release(broken);
    }
  }

  async end(): Promise<void> {
    await this.#pool.end();
  }
}

function judge(error: unknown): never {
  const code = sqlstate(error);
  if (REJECTED.includes(code)) throw new TokenRejected();
  if (code === UNAVAILABLE) throw new KeysUnavailable((error as Error).message);
  throw error;
}

function sqlstate(error: unknown): string {
  return error instanceof pg.DatabaseError ? (error.code ?? "") : "";
}
