// The authorization code flow of a native application (RFC 8252): a browser, and a callback on this machine.
import { spawn } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as oidc from 'openid-client';
import { Mistake, type Provider } from './options.js';

/** How long a person has to log in. */
const PATIENCE_MS = 5 * 60_000;

/** Logs in with the browser, with PKCE (RFC 7636, S256) and a `state`. */
export async function logInWithBrowser(
  config: oidc.Configuration,
  provider: Provider,
  parameters: Record<string, string>,
  port: number,
): Promise<oidc.TokenEndpointResponse & oidc.TokenEndpointResponseHelpers> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // Only this machine: whoever reaches the callback could hand over a code.
    server.listen(port, '127.0.0.1', resolve);
  });
  const redirect = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`;
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const url = oidc.buildAuthorizationUrl(config, {
    ...parameters,
    redirect_uri: redirect,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
  });
  try {
    console.error(`Log in at ${provider.issuer} with your browser. If none opens, go to\n${url}`);
    openBrowser(url);
    const answer = await callback(server, redirect, state);
    return await oidc.authorizationCodeGrant(config, answer, { pkceCodeVerifier: verifier, expectedState: state });
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/** The first request to the callback that belongs to this login. */
function callback(server: Server, redirect: string, state: string): Promise<URL> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Mistake(`Nobody logged in within ${PATIENCE_MS / 60_000} minutes.`));
    const timer = setTimeout(late, PATIENCE_MS);
    server.on('request', (request, response) => {
      const url = new URL(request.url ?? '/', redirect);
      response.setHeader('Content-Type', 'text/html; charset=utf-8');
      response.setHeader('Connection', 'close');
      if (request.method !== 'GET' || url.pathname !== '/callback' || url.searchParams.get('state') !== state) {
        response.writeHead(404).end('<h1>This is not the page of a login</h1>');
        return;
      }
      const word = url.searchParams.has('error') ? 'You are not logged in' : 'You are logged in';
      response.end(`<h1>${word}</h1><p>You can close this page, and go back to your terminal.</p>`);
      clearTimeout(timer);
      resolve(url);
    });
  });
}

function openBrowser(url: URL): void {
  const system = { darwin: 'open', win32: 'explorer' } as Partial<Record<NodeJS.Platform, string>>;
  const program = process.env.BROWSER || (system[process.platform] ?? 'xdg-open');
  const browser = spawn(program, [url.href], { stdio: 'ignore', detached: true });
  // The address is on the terminal as well.
  browser.on('error', () => {});
  browser.unref();
}
