import { settle } from 'bosun/testing';
import { expect, test } from 'vitest';
import { Lane } from '../../src/supervisor/lane.ts';

function open(step: (interrupted: AbortSignal, lane: Lane<never>) => Promise<boolean>) {
  const lane: Lane<never> = new Lane<never>(
    () => [],
    (interrupted) => step(interrupted, lane),
    (work) => work(),
  );
  return lane;
}

test('takes steps until there is nothing to do', async () => {
  let left = 3;
  const lane = open(async () => {
    left -= 1;
    return left > 0;
  });
  expect(lane.busy).toBe(false);
  lane.wake();
  expect(lane.busy).toBe(true);
  await lane.idle();
  expect([left, lane.busy]).toEqual([0, false]);
});

test('a wake while a step is finding nothing to do is not lost', async () => {
  let steps = 0;
  const lane = open(async (_, self) => {
    steps += 1;
    if (steps === 1) queueMicrotask(() => self.wake());
    return false;
  });
  lane.wake();
  await lane.idle();
  expect(steps).toBe(2);
});

test('a request interrupts a step, waits for other requests, and comes before the next step', async () => {
  const journal: string[] = [];
  let steps = 0;
  const lane = open(async (interrupted) => {
    steps += 1;
    journal.push(`step ${steps}`);
    if (steps > 1) return false;
    await new Promise<void>((resolve) => interrupted.addEventListener('abort', () => resolve()));
    return true;
  });
  lane.wake();
  await settle();
  const request = (name: string) => async () => {
    journal.push(`${name} begins`);
    await settle();
    journal.push(`${name} ends`);
    return name;
  };
  expect(await Promise.all([lane.request(request('one')), lane.request(request('two'))])).toEqual([
    'one',
    'two',
  ]);
  await lane.idle();
  expect(journal).toEqual(['step 1', 'one begins', 'one ends', 'two begins', 'two ends', 'step 2']);
});

test('a request that rejects harms no other, a step that throws ends it until it is woken', async () => {
  let broken = true;
  const errors: unknown[] = [];
  const lane: Lane<never> = new Lane<never>(
    () => [],
    async () => {
      if (broken) throw new Error('defect');
      return false;
    },
    (work) => work().catch((error) => void errors.push(error)),
  );
  await expect(lane.request(() => Promise.reject(new Error('refused')))).rejects.toThrow('refused');
  await lane.idle();
  expect(errors).toMatchObject([{ message: 'defect' }]);
  broken = false;
  expect(await lane.request(async () => 'again')).toBe('again');
  await lane.idle();
  expect(lane.busy).toBe(false);
});
