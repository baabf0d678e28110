// A certified OpenID provider on a free port of 127.0.0.1. It prints its issuer URL, and ends with its standard input.
//
//   node provider.mjs [CERTIFICATE KEY]     with these PEM files it speaks https
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createPrivateKey, generateKeyPairSync, webcrypto } from 'node:crypto';

// Debian 12 has Node 18, which lacks these two.
globalThis.crypto ??= webcrypto;
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null);
const { default: Provider } = await import('oidc-provider');

const AUDIENCE = 'https://db.test';
const ACCOUNTS = { alice: { role: 'reader' }, bob: { role: 'writer' } };

function privateKey(kid, alg, type, options) {
  // By way of PEM: to export a key as JWK while the job that made it is collected as garbage blocks Node for ever.
  const privateKeyEncoding = { type: 'pkcs8', format: 'pem' };
  const { privateKey: pem } = generateKeyPairSync(type, { ...options, privateKeyEncoding });
  return { ...createPrivateKey(pem).export({ format: 'jwk' }), kid, alg, use: 'sig' };
}

const configuration = {
  clients: [
    {
      client_id: 'psql',
      token_endpoint_auth_method: 'none',
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: [],
      response_types: [],
    },
    {
      client_id: 'service',
      client_secret: 'service-secret',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
    // A person's own command. The second one's access tokens are about to expire.
    ...['cli', 'cli-short'].map((client_id) => ({
      client_id,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: ['http://127.0.0.1/callback'],
      response_types: ['code'],
    })),
  ],
  // ID tokens are signed with RS256, access tokens with ES256.
  jwks: {
    keys: [
      privateKey('rsa', 'RS256', 'rsa', { modulusLength: 2048 }),
      privateKey('ec', 'ES256', 'ec', { namedCurve: 'P-256' }),
    ],
  },
  cookies: { keys: ['signs the cookies of this test'] },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // libpq sends no `resource`, so every token is for the database.
      defaultResource: () => AUDIENCE,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource, client) => ({
        audience: AUDIENCE,
        scope: 'db:read db:write',
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
        accessTokenTTL: client.clientId === 'cli-short' ? 62 : 300,
      }),
    },
  },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  findAccount: (ctx, id) =>
    ACCOUNTS[id] && { accountId: id, claims: () => ({ sub: id, ...ACCOUNTS[id] }) },
  extraTokenClaims: (ctx, token) => ACCOUNTS[token.accountId] ?? { role: 'service' },
};

const [certificate, key] = process.argv.slice(2);
const server = certificate
  ? https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) })
  : http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `${certificate ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  // Without it clients ask every five seconds (RFC 8628, section 3.2).
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === 'device_authorization' && ctx.body?.device_code) ctx.body.interval = 1;
  });
  server.on('request', provider.callback());
  console.log(`issuer ${issuer}`);
});

process.stdin.on('end', () => process.exit()).resume();
