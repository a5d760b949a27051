import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HeapSnapshots } from '../observe/memory/heap-snapshot.ts';
import type { Host } from '../supervisor/host.ts';
import type { MainMethods, SnapshotPlace } from './protocol.ts';

type Operations = Pick<MainMethods, 'restart' | 'reload' | 'profile' | 'heapPlan' | 'heapSnapshot'>;

/** What the servers of the control plane have the main thread do. What is to be cleaned up is left to `ending`. */
export function operations(host: Host, ending: AsyncDisposableStack): Operations {
  const { control, clock, emit } = host;
  const snapshots = new Map<string | undefined, Promise<HeapSnapshots>>();
  const makeSnapshots = async ({ server, dir }: SnapshotPlace) => {
    const { HeapSnapshots } = await import('../observe/memory/heap-snapshot.ts');
    return new HeapSnapshots({
      dir: dir ?? (await temporaryFolder(ending)),
      clock,
      log: host.loggerFor(server),
    });
  };
  const heapSnapshots = (place: SnapshotPlace) => {
    const known = snapshots.get(place.dir);
    if (known !== undefined) return known;
    const made = makeSnapshots(place).catch((error) => {
      snapshots.delete(place.dir);
      throw error;
    });
    snapshots.set(place.dir, made);
    return made;
  };
  return {
    restart: (name) => control.restart(name),
    reload: () => control.reload(),
    async profile({ seconds, hertz, format }, signal) {
      const { takeProfile } = await import('../observe/profile/index.ts');
      const profile = await takeProfile({ seconds, hertz, signal });
      const report = { ...(await profile.report()), files: [] };
      emit({ type: 'profile-taken', report });
      return format === 'report' ? report : await profile.encode(format);
    },
    async heapPlan(place) {
      return await (await heapSnapshots(place)).plan();
    },
    async heapSnapshot(place, signal) {
      const taking = await heapSnapshots(place);
      const { refusal } = await taking.plan();
      if (refusal !== null) return refusal;
      const taken = await taking.take(signal);
      emit({ type: 'heap-snapshot-taken', ...taken });
      return taken;
    },
  };
}

/** `mkdtemp` makes it with mode 0700. It stays when there are snapshots in it. */
async function temporaryFolder(ending: AsyncDisposableStack): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), `bosun-${process.pid}-`));
  ending.defer(() => rmdir(dir).catch(() => {}));
  return dir;
}
