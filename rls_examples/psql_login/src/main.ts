#!/usr/bin/env node
// A person's token for psql: logs in with the browser, and prints the token as a password.
import { webcrypto } from 'node:crypto';
import * as oidc from 'openid-client';
import { logInWithBrowser } from './browser.js';
import { type Command, Mistake, type Provider, command } from './options.js';
import { type Login, alone, forget, store, stored } from './store.js';

// Node 18 lacks it.
globalThis.crypto ??= webcrypto as Crypto;

/** A token with less time than this is replaced. */
const LEAST_SECONDS = 60;

type Tokens = oidc.TokenEndpointResponse & oidc.TokenEndpointResponseHelpers;

const now = () => Math.floor(Date.now() / 1000);

async function run(command: Command): Promise<void> {
  switch (command.name) {
    case 'login':
      return logIn(command.provider, command.device, command.port);
    case 'token':
      console.log(await token());
      return;
    case 'who':
      return who(await loggedIn());
    case 'logout':
      return logOut();
  }
}

async function logIn(provider: Provider, device: boolean, port: number): Promise<void> {
  const config = await configuration(provider);
  const parameters: Record<string, string> = { scope: provider.scope };
  if (provider.resource !== undefined) parameters.resource = provider.resource;
  if (provider.audience !== undefined) parameters.audience = provider.audience;
  const tokens = device
    ? await logInWithDevice(config, parameters)
    : await logInWithBrowser(config, provider, parameters, port);
  const login = loginOf(provider, tokens);
  await alone(() => store(login));
  who(login);
}

/** The device flow (RFC 8628): the browser is elsewhere. */
async function logInWithDevice(config: oidc.Configuration, parameters: Record<string, string>): Promise<Tokens> {
  const device = await oidc.initiateDeviceAuthorization(config, parameters);
  console.error(`Visit ${device.verification_uri} and enter the code: ${device.user_code}`);
  return oidc.pollDeviceAuthorizationGrant(config, device);
}

/** An access token that has a minute left at least. */
async function token(): Promise<string> {
  const isFresh = (login: Login) => login.expiresAt - now() > LEAST_SECONDS;
  const login = await loggedIn();
  if (isFresh(login)) return login.accessToken;
  return alone(async () => {
    // Another process may have been here meanwhile.
    const login = await loggedIn();
    if (isFresh(login)) return login.accessToken;
    if (login.refreshToken === undefined) throw new Mistake('The token expires, and there is none to refresh it: log in.');
    const { provider } = login;
    const parameters: Record<string, string> = {};
    if (provider.resource !== undefined) parameters.resource = provider.resource;
    const tokens = await oidc.refreshTokenGrant(await configuration(provider), login.refreshToken, parameters);
    const refreshed = loginOf(provider, tokens, login);
    await store(refreshed);
    return refreshed.accessToken;
  });
}

async function logOut(): Promise<void> {
  const login = await stored();
  await forget();
  if (login === undefined) return;
  const config = await configuration(login.provider);
  if (config.serverMetadata().revocation_endpoint === undefined) {
    console.error(`${login.provider.issuer} revokes no tokens: this one can be used until ${time(login.expiresAt)}.`);
    return;
  }
  for (const token of [login.refreshToken, login.accessToken]) {
    // Providers differ in what they revoke; a JWT is good until it expires either way.
    if (token !== undefined) await oidc.tokenRevocation(config, token).catch(unlessUnsupported);
  }
}

function unlessUnsupported(error: unknown): void {
  if (!(error instanceof oidc.ResponseBodyError && error.error === 'unsupported_token_type')) throw error;
}

async function loggedIn(): Promise<Login> {
  const login = await stored();
  if (login === undefined) throw new Mistake('Nobody is logged in: psql-login login --issuer URL --client-id ID');
  return login;
}

function configuration(provider: Provider): Promise<oidc.Configuration> {
  const issuer = new URL(provider.issuer);
  const isHere = ['127.0.0.1', '[::1]', 'localhost'].includes(issuer.hostname);
  // Without TLS only a provider on this machine is asked.
  const execute = isHere ? [oidc.allowInsecureRequests] : [];
  return oidc.discovery(issuer, provider.clientId, undefined, oidc.None(), { execute });
}

function loginOf(provider: Provider, tokens: Tokens, former?: Login): Login {
  const claims = payload(tokens.access_token);
  if (claims === undefined) {
    throw new Mistake(
      'The provider gave an access token that is no JWT, which PostgreSQL cannot verify. Name the API with --resource or ' +
        '--audience, or make it the default there.',
    );
  }
  return {
    provider,
    accessToken: tokens.access_token,
    refreshToken: tokens.refresh_token ?? former?.refreshToken,
    subject: String(claims.sub ?? tokens.claims()?.sub ?? former?.subject ?? 'somebody'),
    expiresAt: typeof claims.exp === 'number' ? claims.exp : now() + (tokens.expires_in ?? 0),
  };
}

/** The claims of a JWT, which PostgreSQL will verify; undefined if it is none. */
function payload(token: string): Record<string, unknown> | undefined {
  const [, payload, signature, more] = token.split('.');
  if (payload === undefined || signature === undefined || more !== undefined) return undefined;
  try {
    return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function who(login: Login): void {
  const renewed = login.refreshToken === undefined ? '' : ', and renewed before';
  console.error(`Logged in as ${login.subject} at ${login.provider.issuer}. The token expires at ${time(login.expiresAt)}${renewed}.`);
}

const time = (seconds: number) => new Date(seconds * 1000).toLocaleTimeString();

/** What went wrong, without a stack. */
function explanation(error: unknown): string {
  if (error instanceof oidc.ResponseBodyError || error instanceof oidc.AuthorizationResponseError) {
    const again = error.error === 'invalid_grant' ? ' Log in again.' : '';
    return `The provider says: ${error.error}${error.error_description ? `, ${error.error_description}` : ''}.${again}`;
  }
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error && cause.message !== error.message ? `${error.message}: ${cause.message}` : error.message;
}

try {
  await run(command(process.argv.slice(2)));
} catch (error) {
  console.error(explanation(error));
  process.exitCode = 1;
}
