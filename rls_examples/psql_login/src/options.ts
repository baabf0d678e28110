// The command line.
import { parseArgs } from 'node:util';

export const USAGE = `psql-login login --issuer URL --client-id ID [--scope "openid db:read"] [--device]
                 [--resource URI] [--audience NAME] [--port NUMBER]
psql-login token     print an access token, for PGPASSWORD
psql-login logout    forget the tokens, and revoke them where the provider can
psql-login who       say who is logged in`;

/** Where and how to log in: what is kept for later. */
export interface Provider {
  issuer: string;
  clientId: string;
  scope: string;
  /** RFC 8707, for providers that make JWTs for a resource. */
  resource: string | undefined;
  /** For providers that have a parameter of their own for it. */
  audience: string | undefined;
}

export type Command =
  | { name: 'login'; provider: Provider; device: boolean; port: number }
  | { name: 'token' | 'logout' | 'who' };

/** A mistake of the person: the message is all that there is to say. */
export class Mistake extends Error {}

export function command(words: string[]): Command {
  const { values, positionals } = parse(words);
  const [name, ...rest] = positionals;
  if (rest.length > 0 || values.help) throw new Mistake(USAGE);
  if (name === 'token' || name === 'logout' || name === 'who') return { name };
  if (name !== 'login') throw new Mistake(USAGE);
  const { issuer, 'client-id': clientId, scope = 'openid', resource, audience } = values;
  if (issuer === undefined || clientId === undefined) throw new Mistake(USAGE);
  const port = Number(values.port ?? 0);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Mistake('--port is a number up to 65535.');
  const provider = { issuer, clientId, scope, resource, audience };
  return { name, provider, device: values.device ?? false, port };
}

function parse(words: string[]) {
  try {
    return parseArgs({
      args: words,
      allowPositionals: true,
      options: {
        issuer: { type: 'string' },
        'client-id': { type: 'string' },
        scope: { type: 'string' },
        resource: { type: 'string' },
        audience: { type: 'string' },
        port: { type: 'string' },
        device: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new Mistake(`${error instanceof Error ? error.message : error}\n${USAGE}`);
  }
}
