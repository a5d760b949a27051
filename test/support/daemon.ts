import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { owned } from './owned.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** One line of the daemon's log. */
export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly service?: string;
  readonly [field: string]: unknown;
}

/** A daemon in a process of its own, run from a config file by the command line. */
export interface Daemon extends AsyncDisposable {
  readonly pid: number;
  readonly log: readonly LogLine[];
  readonly readyInMs: number;
  /** The first address of a service: `http://127.0.0.1:41233`. */
  address(service: string): string;
  /** Resolves with the next (or an earlier) line that fits. */
  logged(fits: (line: LogLine) => boolean): Promise<LogLine>;
  kill(signal: NodeJS.Signals): void;
  /** Resolves with the exit code, or the name of the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
}

/** Starts `bosun run <config>`, with JSON log lines, and resolves when it says that it is ready. */
export async function startDaemon(
  config: string,
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Daemon> {
  const child = owned(
    spawn(process.execPath, ['--conditions=bosun-source', `${root}src/cli/main.ts`, 'run', config], {
      cwd: options.cwd ?? root,
      env: { ...process.env, BOSUN_LOG_FORMAT: 'json', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  );
  const exited = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? (signal as NodeJS.Signals)));
  });
  const log = follow(child);
  const ready = await Promise.race([log.wait((line) => line.msg.startsWith('ready in')), exited]);
  if (typeof ready !== 'object') {
    throw new Error(
      `the daemon ended with ${ready} before it was ready:\n${log.stderr()}${JSON.stringify(log.lines)}`,
    );
  }
  const addresses = ready.addresses as Record<string, readonly string[]>;
  return {
    pid: child.pid as number,
    log: log.lines,
    readyInMs: ready.durationMs as number,
    address(service) {
      const [first] = addresses[service] ?? [];
      if (first === undefined) throw new Error(`${service} serves nowhere: ${JSON.stringify(addresses)}`);
      return first;
    },
    logged: log.wait,
    kill: (signal) => void child.kill(signal),
    exited,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function follow(child: ChildProcess) {
  const lines: LogLine[] = [];
  const waiters = new Set<(line: LogLine) => void>();
  let stderr = '';
  if (child.stdout === null || child.stderr === null) throw new Error('the child has no pipes');
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = JSON.parse(text) as LogLine;
    lines.push(line);
    for (const waiter of [...waiters]) waiter(line);
  });
  return {
    lines,
    stderr: () => stderr,
    wait: (fits: (line: LogLine) => boolean) =>
      new Promise<LogLine>((resolve) => {
        const earlier = lines.find(fits);
        if (earlier !== undefined) return resolve(earlier);
        const waiter = (line: LogLine) => {
          if (!fits(line)) return;
          waiters.delete(waiter);
          resolve(line);
        };
        waiters.add(waiter);
      }),
  };
}
