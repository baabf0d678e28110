import { generateKey } from "./keys.js";

console.log(`Made ${await generateKey(process.env.KEYS_FOLDER ?? "keys")}`);
