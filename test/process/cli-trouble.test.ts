import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { bosun, Cli, Project } from './cli.ts';

const services = `
import { type Scope, Service } from 'bosun';

/** Starts until it is told not to. */
export class Patient extends Service {
  override start({ signal, log }: Scope): Promise<void> {
    log.info('waiting');
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  }
}
/** Starts for ever. */
export class Deaf extends Service {
  override start({ log }: Scope): Promise<void> {
    log.info('waiting');
    return new Promise(() => {});
  }
}
export class Chatty extends Service {
  override start({ spawn, clock, log }: Scope): void {
    spawn('chat', async (signal) => {
      for (;;) {
        log.info('and another thing');
        await clock.sleep(10, { signal });
      }
    });
  }
}
`;

function project(config: string): Project {
  const made = new Project();
  made.write('services.ts', services);
  made.write('bosun.yaml', config);
  return made;
}

/** A port of this machine's that something else uses until the end of the block. */
async function takenPort(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => void (await once(server.close(), 'close')),
  };
}

async function echoed(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  socket.end(text);
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return answer;
}

const portOf = (cli: Cli): number => Number(/echo tcp:\/\/127\.0\.0\.1:(\d+)/.exec(cli.stdout)?.[1]);

describe('a start that fails', () => {
  it('for a port in use names service and port, stops what had started, and exits with 1', async () => {
    await using taken = await takenPort();
    using dir = project(`services:
  first: { use: tcp-echo, port: 0 }
  echo: { use: tcp-echo, port: ${taken.port}, after: [first] }`);
    const { code, stdout } = await bosun(['run', '--log-level', 'debug'], { cwd: dir.path });
    expect(code).toBe(1);
    expect(stdout).toContain(
      `stopping: service \\"echo\\" could not start: port ${taken.port} on 127.0.0.1 is in use`,
    );
    expect(stdout).toMatch(/"service":"first".*"stopped"/);
    expect(stdout).not.toContain('"ready in');
  });

  it('for a database that cannot be reached names it, never the password, and exits with 1', async () => {
    await using taken = await takenPort();
    const { port } = taken;
    await taken[Symbol.asyncDispose]();
    using dir = project(`services: { db: { use: postgres, url: "\${DATABASE_URL}", startTimeout: 500ms } }`);
    const { code, stdout, stderr } = await bosun(['run'], {
      cwd: dir.path,
      env: { DATABASE_URL: `postgres://me:hunter2@127.0.0.1:${port}/shop` },
    });
    expect(code).toBe(1);
    expect(stdout).toContain(`still waiting for postgres at 127.0.0.1:${port}/shop (connection refused`);
    expect(stdout + stderr).not.toContain('hunter2');
  });
});

describe('SIGTERM while it starts', () => {
  it('stops what had started and exits with 0', async () => {
    using dir = project(`services:
  echo: { use: tcp-echo, port: 0 }
  patient: { use: ./services.ts#Patient, after: [echo] }`);
    await using cli = new Cli(['run', '--log-level', 'debug'], { cwd: dir.path });
    await cli.seen(/waiting/);
    cli.kill('SIGTERM');
    expect(await cli.exited).toBe(0);
    expect(cli.stdout).toMatch(/"service":"echo".*"stopped"/);
    expect(cli.stdout).not.toContain('"ready in');
  });

  it('a second time forces a start that hears nothing, and exits with 70', async () => {
    using dir = project('services: { deaf: { use: ./services.ts#Deaf, stopTimeout: infinity } }');
    await using cli = new Cli(['run'], { cwd: dir.path });
    await cli.seen(/waiting/);
    cli.kill('SIGTERM');
    await cli.seen(/stopping: SIGTERM/);
    cli.kill('SIGTERM');
    expect(await cli.exited).toBe(70);
    expect(cli.stdout).toContain('held by start()');
  });
});

it('a reader that closes stdout costs the daemon its log, not its life', async () => {
  using dir = project(
    'services: { echo: { use: tcp-echo, port: 0 }, chatty: { use: ./services.ts#Chatty } }',
  );
  await using cli = new Cli(['run'], { cwd: dir.path });
  await cli.seen(/"ready in/);
  cli.closeStdout();
  await cli.complained(/the log cannot be written any more/);
  expect(await echoed(portOf(cli), 'still there?')).toBe('still there?');
  cli.kill('SIGTERM');
  expect(await cli.exited).toBe(0);
});

it('what was killed with SIGKILL starts again on the same port', async () => {
  using dir = project(`services: { echo: { use: tcp-echo, port: "\${PORT}" } }`);
  await using first = new Cli(['run'], { cwd: dir.path, env: { PORT: '0' } });
  await first.seen(/"ready in/);
  const port = portOf(first);
  // The one who closes first is who leaves something behind in the kernel: here the daemon.
  const client = connect(port, '127.0.0.1').on('error', () => {});
  await once(client, 'connect');
  first.kill('SIGKILL');
  expect(await first.exited).toBe('SIGKILL');
  client.destroy();
  await using second = new Cli(['run'], { cwd: dir.path, env: { PORT: String(port) } });
  await second.seen(/"ready in/);
  expect(await echoed(port, 'again')).toBe('again');
  second.kill('SIGTERM');
  expect(await second.exited).toBe(0);
});
