/** Logs into stdout as its argument says; what the test has to know goes through the IPC channel. */
import { spawnSync } from 'node:child_process';
import { setImmediate as turn } from 'node:timers/promises';
import { run, Service } from 'bosun';
import { createLogging } from '../../src/logging/logging.ts';
import { logSchema } from '../../src/logging/options.ts';

interface Scenario {
  readonly lines: number;
  readonly flushTimeoutMs?: number;
  /** `run` logs in a service of a daemon; the others log and then end like this. */
  readonly end: 'run' | 'close' | 'process.exit' | 'nothing' | 'throw';
  readonly fatal?: boolean;
  /** So many more lines are logged in the very turn in which it ends. */
  readonly lastWords?: number;
  /** Runs a process that inherits stdout before it logs. */
  readonly inherit?: boolean;
}

const scenario = JSON.parse(process.argv[2] ?? '') as Scenario;
const { lines, end, flushTimeoutMs = 5_000 } = scenario;
const message = 'x'.repeat(100);
const tell = (what: object) => process.send?.(what);

async function burst(info: (fields: object, text: string) => void): Promise<void> {
  if (scenario.inherit) spawnSync('true', { stdio: 'inherit' });
  for (let i = 0; i < lines; i++) info({ i }, message);
  for (let i = 0; i < 10; i++) await turn();
  tell({ logged: lines });
}

class Burst extends Service {
  override async start({ log, finish }: Parameters<Service['start']>[0]) {
    await burst((fields, text) => log.info(fields, text));
    finish();
  }
}

const log = { format: 'json', level: 'info', flushTimeoutMs } as const;
if (end === 'run') {
  await run([new Burst()], { log });
} else {
  const logging = createLogging(logSchema.parse(log));
  await burst((fields, text) => logging.logger.info(fields, text));
  if (scenario.fatal) logging.logger.fatal('the end');
  if (end === 'close') await logging.close();
  tell({ dropped: logging.dropped });
  if (scenario.lastWords) {
    for (let i = lines; i < lines + scenario.lastWords; i++) logging.logger.info({ i }, message);
  }
  if (end === 'process.exit') process.exit(3);
  if (end === 'throw') throw new Error('crash');
}
if (process.connected) process.disconnect();
