// Prints the provider's answer with tokens.
//
//   node tokens.mjs ISSUER service SCOPE      a service's own, by client credentials
//   node tokens.mjs ISSUER device SCOPE USER  a person's, by the device flow
import { decide } from './browser.mjs';

const [issuer, flow, scope, user] = process.argv.slice(2);
const discovery = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();

async function post(url, body, headers = {}) {
  const response = await fetch(url, { method: 'POST', headers, body: new URLSearchParams(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${url}: ${JSON.stringify(answer)}`);
  return answer;
}

async function service() {
  const authorization = `Basic ${Buffer.from('service:service-secret').toString('base64')}`;
  return post(discovery.token_endpoint, { grant_type: 'client_credentials', scope }, { authorization });
}

async function device() {
  const asked = await post(discovery.device_authorization_endpoint, { client_id: 'psql', scope });
  const page = await decide(asked.verification_uri, asked.user_code, user, 'approve');
  if (page !== 'Sign-in Success') throw new Error(page);
  return post(discovery.token_endpoint, {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    client_id: 'psql',
    device_code: asked.device_code,
  });
}

console.log(JSON.stringify(await { service, device }[flow]()));
