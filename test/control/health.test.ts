import { entrypoint, type Health, type Scope, Service } from 'bosun';
import { FakeClock } from 'bosun/testing';
import { expect, test } from 'vitest';
import { askHealth } from '../../src/control/health.ts';
import type { Host } from '../../src/supervisor/host.ts';
import { hostOf } from '../../src/supervisor/run.ts';

class Subject extends Service {
  host: Host | undefined;
  questions: PromiseWithResolvers<Health>[] = [];

  override start(scope: Scope): void {
    this.host = hostOf(scope);
  }

  override health(): Promise<Health> {
    const question = Promise.withResolvers<Health>();
    this.questions.push(question);
    return question.promise;
  }
}

async function started() {
  const clock = new FakeClock();
  const subject = new Subject();
  const daemon = await entrypoint([subject], { log: { level: 'silent' }, ownsProcess: false, clock });
  const askedFor = async (ms: number) => {
    const answer = askHealth(subject.host as Host, 1_000);
    await clock.advance(ms);
    return (await answer).subject;
  };
  return { clock, subject, daemon, askedFor, [Symbol.asyncDispose]: () => daemon.stop() };
}

const silence = { ok: false, detail: 'health() gave no answer within 1000 ms' };

test('what a service says is told, and what it throws', async () => {
  await using at = await started();
  const { subject } = at;
  const well = at.askedFor(0);
  subject.questions[0]?.resolve({ ok: true, detail: 'as ever' });
  expect(await well).toEqual({ ok: true, detail: 'as ever' });
  const broken = at.askedFor(0);
  subject.questions[1]?.reject(new Error('broken'));
  expect(await broken).toEqual({ ok: false, detail: 'health() failed: broken' });
});

test('one that does not answer in time is not well, and not asked again meanwhile', async () => {
  await using at = await started();
  for (let turn = 0; turn < 5; turn++) expect(await at.askedFor(1_000)).toEqual(silence);
  expect(at.subject.questions).toHaveLength(1);
  at.subject.questions[0]?.resolve({ ok: true });
  const next = at.askedFor(0);
  at.subject.questions[1]?.resolve({ ok: true });
  expect((await next)?.ok).toBe(true);
});

test('one that hangs is asked again after ten times the limit', async () => {
  await using at = await started();
  await at.askedFor(1_000);
  await at.clock.advance(9_000);
  await at.askedFor(1_000);
  expect(at.subject.questions).toHaveLength(2);
});

test('only those that are wanted are asked', async () => {
  await using at = await started();
  const { subject } = at;
  expect(await askHealth(subject.host as Host, 1_000, (name) => name !== 'subject')).toEqual({});
  expect(subject.questions).toEqual([]);
});

test('one that was restarted is asked anew', async () => {
  await using at = await started();
  await at.askedFor(1_000);
  await at.daemon.restart('subject');
  const next = at.askedFor(0);
  at.subject.questions[1]?.resolve({ ok: true });
  expect((await next)?.ok).toBe(true);
});

test('however long a detail is, what is told of it is short', async () => {
  await using at = await started();
  const huge = 'x'.repeat(100_000);
  const told = at.askedFor(0);
  at.subject.questions[0]?.resolve({ ok: false, detail: huge });
  expect(await told).toEqual({ ok: false, detail: `${'x'.repeat(4_096)}… (97.7 KiB)` });
  const thrown = at.askedFor(0);
  at.subject.questions[1]?.reject(new Error(huge));
  expect((await thrown)?.detail?.length).toBeLessThan(5_000);
});
