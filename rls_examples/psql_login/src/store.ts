// The tokens, in a file that only its owner can read.
import { chmod, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Mistake, type Provider } from './options.js';

export interface Login {
  provider: Provider;
  accessToken: string;
  refreshToken: string | undefined;
  /** Who the provider says it is. */
  subject: string;
  /** In seconds since the epoch. */
  expiresAt: number;
}

const STATE = process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state');
const FILE = process.env.PSQL_LOGIN_FILE || join(STATE, 'psql-login', 'login.json');
const LOCK = `${FILE}.lock`;

/** A process that holds the lock longer than this has died. */
const LONGEST_HOLD_MS = 60_000;

/** The login; undefined without one. */
export async function stored(): Promise<Login | undefined> {
  let mode;
  try {
    ({ mode } = await stat(FILE));
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  if ((mode & 0o077) !== 0) {
    throw new Mistake(`Others may read or write ${FILE}. Whoever did has your tokens: log out, and log in again.`);
  }
  return JSON.parse(await readFile(FILE, 'utf8')) as Login;
}

/** Replaces the login as a whole. */
export async function store(login: Login): Promise<void> {
  await mkdir(dirname(FILE), { recursive: true, mode: 0o700 });
  const aside = `${FILE}.${process.pid}`;
  await writeFile(aside, `${JSON.stringify(login, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
  await chmod(aside, 0o600);
  await rename(aside, FILE);
}

/** Forgets the login. */
export async function forget(): Promise<void> {
  await rm(FILE, { force: true });
}

/** Runs `work` alone: providers take a refresh token once only. */
export async function alone<T>(work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(FILE), { recursive: true, mode: 0o700 });
  for (;;) {
    try {
      await (await open(LOCK, 'wx', 0o600)).close();
      break;
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error;
    }
    const age = await stat(LOCK).then((lock) => Date.now() - lock.mtimeMs, () => 0);
    if (age > LONGEST_HOLD_MS) await rm(LOCK, { force: true });
    await sleep(100);
  }
  try {
    return await work();
  } finally {
    await rm(LOCK, { force: true });
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
