import { entrypoint, type Scope, Service } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { expect, test } from 'vitest';
import { StatusWriter } from '../../src/control/status.ts';
import type { Control, ServiceInfo } from '../../src/supervisor/host.ts';
import { hostOf } from '../../src/supervisor/run.ts';

const huge = 'x'.repeat(1_500_000);
const error = Object.assign(new Error(huge), { code: huge });

function writer(info?: Partial<ServiceInfo>) {
  const service = { name: 'api', state: { status: 'running', since: 1 }, ...info } as ServiceInfo;
  return new StatusWriter({ phase: 'ready', services: () => [service] } as Partial<Control> as Control);
}

test('however long an error’s text is, what is passed on of it is short, and says how long it was', () => {
  const event = writer().event({ type: 'service-failed', service: 'api', error, origin: 'task', at: 7 });
  expect(event).toMatchObject({
    type: 'service-failed',
    error: { name: 'Error', message: `${'x'.repeat(4_096)}… (1.4 MiB)`, at: 7 },
  });
  const stopped = writer().event({
    type: 'entrypoint-stopped',
    exitCode: 1,
    durationMs: 1,
    errors: [error, error],
    at: 7,
  });
  const { services } = writer({ lastError: error }).status();
  for (const passed of [event, stopped, services]) expect(JSON.stringify(passed).length).toBeLessThan(20_000);
});

test('a short one is passed on as it is', () => {
  const { services } = writer({
    lastError: Object.assign(new Error('no disk'), { code: 'ERR_DISK' }),
  }).status();
  expect(services[0]?.lastError).toMatchObject({ name: 'Error', message: 'no disk', code: 'ERR_DISK' });
});

test('a hundred errors of megabytes do not end the control plane', async () => {
  class Unwell extends Service {
    override start(scope: Scope) {
      const { emit } = hostOf(scope);
      for (let i = 0; i < 100; i++) {
        emit({ type: 'service-stray-error', service: this.name, error: new Error(`${i} ${huge}`) });
      }
    }
  }
  const admin = new AdminService({ port: 0 });
  await using _daemon = await entrypoint([admin, new Unwell({ after: ['admin'] })], {
    log: { level: 'silent' },
    ownsProcess: false,
  });
  const stream = await fetch(`${admin.addresses[0]}/api/stream`);
  let text = '';
  for await (const chunk of stream.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    if (text.includes('"message":"99 xxx')) break;
  }
  expect(text.match(/\(1\.4 MiB\)/g)).toHaveLength(100);
});
