import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, SignJWT } from "jose";
import type { JWK, KeyLike } from "jose";

const ALG = "ES256";

/** The keys of one moment: the newest signs, all are published. */
export interface Keys {
  sign(subject: string): Promise<string>;
  jwks: { keys: JWK[] };
}

/** Reads the private keys; throws where there is none, or where others than the owner may read one. */
export async function loadKeys(folder: string, of: { issuer: string; audience: string; tokenLife: number }): Promise<Keys> {
  // Names begin with the time of their making.
  const names = readdirSync(folder).filter((name) => name.endsWith(".json")).sort();
  const privateJwks = names.map((name): JWK => {
    const path = join(folder, name);
    if (statSync(path).mode & 0o077) throw new Error(`${path} is a private key that others may read: chmod 600 it.`);
    return JSON.parse(readFileSync(path, "utf8"));
  });
  const newest = privateJwks.at(-1);
  if (!newest?.kid) throw new Error(`There is no key in ${folder}: run npm run generate-key.`);
  const key = (await importJWK(newest, ALG)) as KeyLike;
  const kid = newest.kid;
  return {
    sign: (subject) =>
      new SignJWT()
        .setProtectedHeader({ alg: ALG, typ: "JWT", kid })
        .setIssuer(of.issuer)
        .setAudience(of.audience)
        .setSubject(subject)
        .setIssuedAt()
        .setExpirationTime(`${of.tokenLife}s`)
        .sign(key),
    jwks: { keys: privateJwks.map(publicHalf) },
  };
}

/** Names what is public, so that no private member can slip through. */
function publicHalf({ kty, crv, x, y, kid }: JWK): JWK {
  return { kty, crv, x, y, kid, alg: ALG, use: "sig" };
}

/** Makes a key that only the owner of the file can read; returns the file's path. */
export async function generateKey(folder: string): Promise<string> {
  const { privateKey } = await generateKeyPair(ALG, { extractable: true });
  const jwk = await exportJWK(privateKey);
  const kid = await calculateJwkThumbprint(jwk);
  const path = join(folder, `${new Date().toISOString().replaceAll(":", "")}.json`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(path, JSON.stringify({ ...jwk, kid }), { mode: 0o600, flag: "wx" });
  return path;
}
