import { expect, test } from 'vitest';
import { Child } from '../support/child.ts';
import { startDaemon } from '../support/daemon.ts';
import { missingTools, NotifySocket } from '../support/notify-socket.ts';
import { Cli, Project } from './cli.ts';

const hung = `
import { Service } from 'bosun';

export class Hung extends Service {
  override start(): Promise<void> {
    console.log('{"msg":"hanging"}');
    setInterval(() => {}, 60_000);
    return new Promise(() => {});
  }
}
`;

const left: Promise<unknown>[] = [];

// In order: each is left by a test as if that had run out of time, and looked for by the next one.
test('processes are started and left', async ({ onTestFinished }) => {
  const project = new Project();
  onTestFinished(() => project[Symbol.dispose]());
  project.write('services.ts', hung);
  const config = project.write('bosun.yaml', 'services:\n  hung: { use: ./services.ts#Hung }\n');
  const cli = new Cli(['run', config], { cwd: project.path });
  const child = new Child('workers.ts', ['wait']);
  await cli.seen(/hanging/);
  await child.line('working');
  left.push(
    cli.exited,
    child.exit.then(({ signal }) => signal),
    startDaemon(config).catch((error: Error) => /ended with (\w+) before/.exec(error.message)?.[1]),
  );
});

test('they have ended with their test', async () => {
  expect(await Promise.all(left)).toEqual(['SIGKILL', 'SIGKILL', 'SIGKILL']);
});

let socket: NotifySocket | undefined;

test.skipIf(missingTools.length > 0)('so is a receiver of what systemd is told', async () => {
  socket = await NotifySocket.at(`@bosun-owned-${process.pid}`);
});

test.skipIf(missingTools.length > 0)('and has ended, too', async () => {
  await socket?.ended;
});
