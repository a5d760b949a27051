import { type BosunEvent, Entrypoint, Service, Supervisor } from 'bosun';
import { expect, it } from 'vitest';

class Plain extends Service {
  override start(): void {}
}

it('treats a service that is named like itself as any other', async () => {
  const daemon = new Entrypoint(
    [
      new Supervisor({ name: 'entrypoint', services: [new Plain({ name: 'root' })] }),
      new Plain({ name: 'daemon' }),
    ],
    { log: { level: 'silent' }, ownsProcess: false },
  );
  const events: BosunEvent[] = [];
  daemon.on('service-running', (event) => events.push(event));
  await using _ = daemon;
  await daemon.start();
  await daemon.restart('entrypoint');
  expect(events.map((event) => 'service' in event && event.service).sort()).toEqual(
    ['root', 'root', 'entrypoint', 'entrypoint', 'daemon'].sort(),
  );
  expect(daemon.services.map(({ name, supervisor }) => [name, supervisor])).toEqual([
    ['entrypoint', undefined],
    ['root', 'entrypoint'],
    ['daemon', undefined],
  ]);
});

it('has a name of its own that no service can take', () => {
  expect(() => new Plain({ name: '(entrypoint)' })).toThrow(/must be made of letters/);
});
