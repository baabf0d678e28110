import { serve } from "@hono/node-server";
import { makeApp } from "./app.js";
import { configFromEnvironment, fail } from "./config.js";
import { Database } from "./database.js";
import { loadKeys } from "./keys.js";

const config = configFromEnvironment();
const explain = (error: Error) => fail(error.message);
const database = new Database(config.databaseUrl, config.poolSize);
await database.requireBoundRole().catch(explain);
let keys = await loadKeys(config.keysFolder, config).catch(explain);

const app = await makeApp(database, () => keys, config.tokenLife);
const server = serve({ fetch: app.fetch, hostname: config.host, port: config.port }, (address) =>
  console.log(`Listening on http://${config.host}:${address.port} as process ${process.pid}`),
);

// Rotation: the new key signs from now on; keys whose files are gone are no longer published.
process.on("SIGHUP", () => {
  loadKeys(config.keysFolder, config).then(
    (loaded) => {
      keys = loaded;
      console.log(`Publishing ${loaded.jwks.keys.length} keys`);
    },
    (error: Error) => console.error(`The keys stay as they are: ${error.message}`),
  );
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => server.close(() => void database.end()));
}
