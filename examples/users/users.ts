import { currentSignal, withDeadline } from 'bosun';
import { select, shield, timeout } from 'bosun/policy';
import { request } from 'undici';

/** Ways to wait for several calls: all of them, the first, one after the other, with a limit, shielded, cancelled. */
const [base] = process.argv.slice(2);
if (base === undefined) {
  process.stderr.write('usage: users.ts <base URL of the user directory>\n');
  process.exit(2);
}

const ids = Array.from({ length: 10 }, (_, i) => i + 1);

/** Whether the directory knows a user: HEAD /users/{id} answers 200 or 404. */
async function checkUserExists(id: number, signal = currentSignal()): Promise<boolean> {
  const { statusCode } = await request(`${base}/users/${id}`, { method: 'HEAD', signal });
  if (statusCode !== 200 && statusCode !== 404)
    throw new Error(`user ${id}: the directory says ${statusCode}`);
  return statusCode === 200;
}

const say = (what: string, result: object) =>
  process.stdout.write(`${JSON.stringify({ what, ...result })}\n`);
const reasonOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
const timed = async <Result>(work: () => Promise<Result>) => {
  const begun = performance.now();
  const result = await work();
  return { result, ms: performance.now() - begun };
};

// One after the other, and all at once: the results are in the order of the ids either way.
const sequential = await timed(async () => {
  const found: boolean[] = [];
  for (const id of ids) found.push(await checkUserExists(id));
  return found;
});
say('sequential', sequential);
say('gather', await timed(() => Promise.all(ids.map((id) => checkUserExists(id)))));

// All, whatever becomes of each. 0 is no user id: the directory answers 400.
const settled = await Promise.allSettled([1, 0, 2].map((id) => checkUserExists(id)));
say('wait for all', { statuses: settled.map(({ status }) => status) });

// The first failure ends the others: they share a signal.
const group = new AbortController();
const works = [1, 0, 2].map(async (id) => {
  try {
    return await checkUserExists(id, group.signal);
  } catch (error) {
    group.abort(error);
    throw error;
  }
});
say('first exception', { error: await Promise.all(works).catch(reasonOf) });
say('its siblings', { statuses: (await Promise.allSettled(works)).map(({ status }) => status) });

// As they come: each is dealt with when it is there, not when it was asked for.
const completed: number[] = [];
await Promise.all(
  [13, 11, 12].map(async (id) => {
    await checkUserExists(id);
    completed.push(id);
  }),
);
say('as completed', { ids: completed });

// The first of several; the slow one is aborted.
const { key } = await select({
  slow: (signal) => request(`${base}/slow`, { signal }),
  user: (signal) => checkUserExists(1, signal),
});
say('first of several', { key });

// With a limit: the request is aborted, not only left.
say('time-out', {
  error: await timeout(50)
    .run((signal) => request(`${base}/slow`, { signal }))
    .catch(reasonOf),
});
say('deadline', {
  error: await withDeadline(50, () => request(`${base}/slow`, { signal: currentSignal() })).catch(reasonOf),
});

// Cancelled by the caller: with the caller's reason.
const cancel = new AbortController();
const waiting = checkUserExists(1, cancel.signal).catch(reasonOf);
cancel.abort(new Error('nobody wants to know any more'));
say('cancel', { error: await waiting });

// Shielded: the caller leaves, the work goes on to its end.
const done = Promise.withResolvers<boolean>();
const shielded = shield()(async () => {
  const exists = await checkUserExists(1);
  done.resolve(exists);
  return exists;
});
say('shield', { caller: await withDeadline(1, shielded).catch(reasonOf), work: await done.promise });
