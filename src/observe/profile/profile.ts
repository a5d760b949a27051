import type { ProfileReport } from '../reports.ts';
import { type CallTree, callTree, isIdle, sum } from './call-tree.ts';
import { cpuProfile } from './cpu-profile.ts';
import { flameOf } from './flame.ts';
import { pprof } from './pprof.ts';
import { rowsOf } from './rows.ts';
import type { Capture } from './sampler.ts';

/** `cpuprofile` is opened by Chrome's DevTools, VS Code and speedscope; `pprof` by `go tool pprof` and others. */
export type ProfileFormat = 'cpuprofile' | 'pprof';

/** How a file of each format ends. */
export const extensions: Readonly<Record<ProfileFormat, string>> = {
  cpuprofile: '.cpuprofile',
  pprof: '.pb.gz',
};

/** What was sampled in some seconds, ready to be looked at. */
export class Profile {
  /** Its end: milliseconds since the epoch. */
  readonly at: number;
  /** How long it was sampled. */
  readonly durationMs: number;
  readonly hertz: number;
  /** How long beginning to sample and taking the samples have held up the loop, all pauses together, in ms. */
  readonly pauseMs: number;
  readonly tree: CallTree;

  private constructor(captures: readonly Capture[], tree: CallTree, at: number, hertz: number) {
    this.at = at;
    this.durationMs = sum(captures.map((capture) => capture.durationMs));
    this.hertz = hertz;
    this.pauseMs = sum(captures.map((capture) => capture.pauseMs));
    this.tree = tree;
  }

  /** From what was sampled at that rate in one or several goes. */
  static async from(captures: readonly Capture[], at: number, hertz: number): Promise<Profile> {
    return new Profile(captures, await callTree(captures), at, hertz);
  }

  /** `top`: how many functions each table has. */
  async report({ top = 20 }: { readonly top?: number } = {}): Promise<ProfileReport> {
    const { root, services, samples } = this.tree;
    const busy = root.children.filter((node) => !isIdle(node));
    const { rows, byService } = await rowsOf(busy, services);
    const idleSamples = sum(root.children.filter(isIdle).flatMap((node) => node.selfHits));
    return {
      at: this.at,
      durationMs: this.durationMs,
      hertz: this.hertz,
      samples: samples.length,
      idleSamples,
      bySelf: rows.toSorted((a, b) => b.selfHits - a.selfHits || b.totalHits - a.totalHits).slice(0, top),
      byTotal: rows.toSorted((a, b) => b.totalHits - a.totalHits || b.selfHits - a.selfHits).slice(0, top),
      byService,
      flame: await flameOf(this.tree),
      files: [],
    };
  }

  async encode(format: ProfileFormat): Promise<Buffer> {
    if (format === 'cpuprofile') return await cpuProfile(this);
    return await pprof(this);
  }
}
