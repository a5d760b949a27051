import { open } from 'node:fs/promises';
import { toError } from '../../errors.ts';
import { MAX_HERTZ, MAX_SAMPLES, MIN_HERTZ } from '../../observe/profile/limits.ts';
import { type ProfileFormat, profileFormats, type ServerOptions, type SnapshotPlace } from '../protocol.ts';
import { RemoteError } from '../rpc.ts';
import type { Ask, ControlPlane } from './plane.ts';
import { Query } from './query.ts';
import { Refusal, type Reply } from './reply.ts';
import { checkService, holdersOf } from './services.ts';

const DEFAULT_SECONDS = 10;
const MAX_SECONDS = 300;

/** What the main thread refuses, as HTTP says it; anything else is a failure: 500. */
const statuses: Readonly<Record<string, number>> = {
  ERR_UNKNOWN_SERVICE: 404,
  ERR_SERVICE_STOPPED: 409,
  ERR_NO_RELOAD: 409,
  ERR_PROFILER_BUSY: 409,
  ERR_HEAP_SNAPSHOT_REFUSED: 409,
};

/** @throws {Refusal} for what the main thread has thrown. */
async function asked<Value>(answer: Promise<Value>): Promise<Value> {
  try {
    return await answer;
  } catch (thrown) {
    if (!(thrown instanceof RemoteError)) throw thrown;
    throw new Refusal(statuses[thrown.code] ?? 500, thrown.code, thrown.message);
  }
}

export async function restart({ main, journal, options }: ControlPlane, { parameter }: Ask): Promise<Reply> {
  checkService(journal, parameter);
  if (holdersOf(journal, options.server).has(parameter)) {
    const message = `"${parameter}" serves this request, or holds what does: it cannot be restarted by it`;
    throw new Refusal(409, 'ERR_OWN_RESTART', message);
  }
  const begun = performance.now();
  await asked(main.call('restart', parameter));
  return { body: { name: parameter, durationMs: Math.round(performance.now() - begun) } };
}

export async function reload({ main }: ControlPlane): Promise<Reply> {
  await asked(main.call('reload', undefined));
  return { status: 202, body: {} };
}

/** The last report of the memory tracer, and what it suspects. */
export function memory({ journal }: ControlPlane): Reply {
  const { memory: report, leak } = journal;
  if (report === undefined) {
    throw new Refusal(404, 'ERR_NO_REPORT', 'there is no report yet: a memory-tracer service makes them');
  }
  return { body: { report, suspicion: leak ?? null } };
}

/** The last report of the profiler. */
export function lastProfile({ journal }: ControlPlane): Reply {
  if (journal.profile === undefined) {
    throw new Refusal(404, 'ERR_NO_REPORT', 'there is no report yet: a profiler service makes them');
  }
  return { body: journal.profile };
}

const profileTypes: Readonly<Record<Exclude<ProfileFormat, 'report'>, string>> = {
  cpuprofile: 'application/json; charset=utf-8',
  pprof: 'application/octet-stream',
};

export async function takeProfile({ main }: ControlPlane, { url, signal }: Ask): Promise<Reply> {
  const query = new Query(url, ['seconds', 'hertz', 'format']);
  const seconds = query.integer('seconds', 1, MAX_SECONDS) ?? DEFAULT_SECONDS;
  const hertz = query.integer('hertz', MIN_HERTZ, Math.min(MAX_HERTZ, Math.floor(MAX_SAMPLES / seconds)));
  const format = query.oneOf('format', profileFormats) ?? 'cpuprofile';
  const profile = await asked(main.call('profile', { seconds, hertz, format }, { signal }));
  if (format === 'report' || !(profile instanceof Uint8Array)) return { body: profile };
  return { headers: { 'content-type': profileTypes[format] }, body: profile };
}

const placeOf = ({ server, snapshotDir: dir }: ServerOptions): SnapshotPlace => ({ server, dir });

export async function heapPlan({ main, options }: ControlPlane, { signal }: Ask): Promise<Reply> {
  return { body: await asked(main.call('heapPlan', placeOf(options), { signal })) };
}

export async function takeHeapSnapshot({ main, options }: ControlPlane, { signal }: Ask): Promise<Reply> {
  const taken = await asked(main.call('heapSnapshot', placeOf(options), { signal }));
  if (!('reason' in taken)) return { body: taken };
  throw new Refusal(taken.reason === 'no-space' ? 507 : 409, 'ERR_HEAP_SNAPSHOT_REFUSED', taken.message);
}

/** A snapshot that this daemon has taken; no other file. */
export async function heapSnapshot({ journal }: ControlPlane, { parameter }: Ask): Promise<Reply> {
  const path = journal.snapshots.get(parameter);
  if (path === undefined) throw new Refusal(404, 'ERR_NOT_FOUND', 'there is no such heap snapshot');
  const file = await open(path).catch((thrown: unknown) => {
    throw new Refusal(404, 'ERR_NOT_FOUND', `the heap snapshot is gone: ${toError(thrown).message}`);
  });
  const { size } = await file.stat();
  const headers = {
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(size),
    'content-disposition': `attachment; filename="${parameter}"`,
  };
  return { headers, body: file.createReadStream() };
}
