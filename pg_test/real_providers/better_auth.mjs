// better-auth with its jwt plugin, on 127.0.0.1: EdDSA, no discovery, the active organisation in claim `o`. It knows alice.
// Of its input, a line `token` makes it print a token of hers, and a line `rotate` gives it another key.
import http from 'node:http';
import { createInterface } from 'node:readline';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { toNodeHandler } from 'better-auth/node';
import { jwt, organization } from 'better-auth/plugins';

const tables = ['user', 'session', 'account', 'verification', 'jwks', 'organization', 'member', 'invitation'];
const db = Object.fromEntries(tables.map(name => [name, []]));
const server = http.createServer();
await new Promise(listening => server.listen(0, '127.0.0.1', listening));
const url = `http://127.0.0.1:${server.address().port}`;

async function definePayload({ user, session }) {
  const own = row => row.userId === user.id && row.organizationId === session.activeOrganizationId;
  const member = db.member.find(own);
  return {
    name: user.name,
    email: user.email,
    role: 'authenticated',
    ...(member && { o: { id: member.organizationId, role: member.role } }),
  };
}

const auth = betterAuth({
  baseURL: url,
  secret: 'a secret of the tests, which is long enough',
  database: memoryAdapter(db),
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  plugins: [organization(), jwt({ jwt: { issuer: url, audience: url, definePayload } })],
});
server.on('request', toNodeHandler(auth));

let cookie = '';
async function post(path, body) {
  const headers = { 'content-type': 'application/json', origin: url, cookie };
  const answer = await fetch(`${url}/api/auth${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  cookie = answer.headers.getSetCookie().map(set => set.split(';')[0]).join('; ') || cookie;
}
await post('/sign-up/email', { name: 'alice', email: 'alice@example.com', password: 'correct horse battery' });
await post('/organization/create', { name: 'Acme', slug: 'acme' });

console.log(`issuer ${url}`);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'rotate') {
    db.jwks.length = 0;
    console.log('rotated');
  } else {
    const answer = await fetch(`${url}/api/auth/token`, { headers: { cookie } });
    console.log((await answer.json()).token);
  }
}
process.exit();
