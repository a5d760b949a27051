import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A server in a process of its own. */
export interface Peer extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  /** Sends a message, and resolves with the next one that comes back. */
  ask(message: string): Promise<unknown>;
}

/** Starts `bench/servers/<file>`, which says `LISTENING <port>` on stdout once it serves. */
export async function startPeer(
  name: string,
  file: string,
  env: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
): Promise<Peer> {
  const path = fileURLToPath(new URL(`../servers/${file}`, import.meta.url));
  const child = spawn(process.execPath, ['--conditions=bosun-source', path, ...args], {
    env: { ...process.env, NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  const port = await listeningPort(child, name);
  return {
    name,
    pid: child.pid as number,
    port,
    async ask(message) {
      const answer = new Promise((resolve) => child.once('message', resolve));
      child.send(message);
      return await answer;
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return;
      const exited = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await exited;
    },
  };
}

async function listeningPort(child: ChildProcess, name: string): Promise<number> {
  if (child.stdout === null) throw new Error('the child has no stdout');
  for await (const line of createInterface({ input: child.stdout })) {
    const match = /^LISTENING (\d+)$/.exec(line);
    if (match === null) continue;
    child.stdout.resume();
    return Number(match[1]);
  }
  throw new Error(`${name} ended before it was listening`);
}

/** USER_HZ, the unit of the times in /proc/<pid>/stat: 100 on every Linux that Node supports. */
const TICKS_PER_SECOND = 100;

/** User and system time that a process has used so far, in microseconds. */
export function cpuMicros(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND) * 1e6;
}

/** For how long its threads that live have run so far, in microseconds, by their names; those of one name together. */
export function threadMicros(pid: number): Map<string, number> {
  const micros = new Map<string, number>();
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const task = `/proc/${pid}/task/${id}`;
    const name = readFileSync(`${task}/comm`, 'utf8').trim();
    const [ran] = readFileSync(`${task}/schedstat`, 'utf8').split(' ');
    micros.set(name, (micros.get(name) ?? 0) + Number(ran) / 1_000);
  }
  return micros;
}
