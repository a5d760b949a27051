import type { HeapSnapshots } from '../observe/memory/heap-snapshot.ts';
import type { Host } from '../supervisor/host.ts';
import type { MainMethods, SnapshotPlace } from './protocol.ts';

type Operations = Pick<MainMethods, 'restart' | 'reload' | 'profile' | 'heapPlan' | 'heapSnapshot'>;

/** What the servers of the control plane have the main thread do. What is to be cleaned up is left to `ending`. */
export function operations(host: Host, ending: AsyncDisposableStack): Operations {
  const { control, clock, emit } = host;
  const snapshots = new Map<string | undefined, HeapSnapshots>();
  const heapSnapshots = async ({ server, dir }: SnapshotPlace) => {
    const { HeapSnapshots } = await import('../observe/memory/heap-snapshot.ts');
    let known = snapshots.get(dir);
    if (known === undefined) {
      known = ending.use(new HeapSnapshots({ dir, clock, log: host.loggerFor(server) }));
      snapshots.set(dir, known);
    }
    return known;
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
