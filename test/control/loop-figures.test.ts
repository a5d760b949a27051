import { entrypoint, type Scope, Service } from 'bosun';
import { expect, test } from 'vitest';
import { Heartbeat } from '../../src/control/heartbeat.ts';
import { LoopReader } from '../../src/control/loop-figures.ts';
import { LoopMeter } from '../../src/control/loop-meter.ts';
import { hostOf } from '../../src/supervisor/run.ts';

class Observer extends Service.extend({}) {
  readonly heartbeat = new Heartbeat();
  reader: LoopReader | undefined;

  override start(scope: Scope) {
    this.reader = new LoopReader(hostOf(scope), new LoopMeter(this.heartbeat));
    scope.defer(() => this.heartbeat[Symbol.dispose]());
  }

  read() {
    if (this.reader === undefined) throw new Error('the observer has not started');
    return this.reader.read();
  }

  beat(): Promise<unknown> {
    return new Promise((resolve) => this.heartbeat.onBeat(resolve));
  }
}

test('the one long delay of a reading is told, once, however many short ones there are', async () => {
  const observer = new Observer({});
  await using _daemon = await entrypoint([observer], { log: { level: 'silent' }, ownsProcess: false });
  expect(observer.read()).toMatchObject({ loopDelayMaxMs: null, loopUtilisation: null });
  const end = performance.now() + 150;
  while (performance.now() < end);
  for (let beats = 0; beats < 50; beats++) await observer.beat();
  const { loopDelayMaxMs, loopUtilisation, heapUsedBytes } = observer.read();
  expect(loopDelayMaxMs).toBeGreaterThan(100);
  expect(loopUtilisation).toBeGreaterThan(0);
  expect(heapUsedBytes).toBeGreaterThan(1_000_000);
  expect(observer.read()).toMatchObject({ loopDelayMaxMs: 0, requestsPerSecond: 0, requestP99Ms: null });
});
