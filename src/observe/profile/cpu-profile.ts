import { pathToFileURL } from 'node:url';
import { Pace } from '../pace.ts';
import type { Frame } from '../reports.ts';
import { CHUNK, indexIn, sum } from './call-tree.ts';
import type { Profile } from './profile.ts';

/**
 * A profile as Chrome's DevTools have it: `Profiler.Profile` of the DevTools protocol, as JSON
 * (https://chromedevtools.github.io/devtools-protocol/tot/Profiler/#type-Profile).
 */
export async function cpuProfile(profile: Profile): Promise<Buffer> {
  const { nodes, samples } = profile.tree;
  const pace = new Pace();
  const parts: string[] = ['{"nodes":['];
  const scripts = new Map<string, number>();
  for (const { index, frame, selfHits, children } of nodes) {
    const node = {
      id: index + 1,
      callFrame: callFrame(frame, indexIn(scripts, frame.file)),
      hitCount: sum(selfHits),
      children: children.map((child) => child.index + 1),
    };
    parts.push(index === 0 ? '' : ',', JSON.stringify(node));
    if (pace.isDue) await pace.giveWay();
  }
  const periodMicros = Math.round(1e6 / profile.hertz);
  const began = Math.round((profile.at - profile.durationMs) * 1e3);
  const startTime = samples[0] === undefined ? began : samples[0].at - periodMicros;
  const endTime = Math.max(startTime + Math.round(profile.durationMs * 1e3), samples.at(-1)?.at ?? 0);
  parts.push(`],"startTime":${startTime},"endTime":${endTime},"samples":[`);
  const ids: string[] = [];
  const deltas: string[] = [];
  for (let i = 0; i < samples.length; i += CHUNK) {
    const chunk = samples.slice(i, i + CHUNK);
    ids.push(chunk.map(({ node }) => node.index + 1).join());
    deltas.push(chunk.map(({ at }, j) => at - (samples[i + j - 1]?.at ?? startTime)).join());
    if (pace.isDue) await pace.giveWay();
  }
  parts.push(ids.join(), '],"timeDeltas":[', deltas.join(), ']}');
  return Buffer.from(parts.join(''));
}

/** The protocol counts lines and columns from 0; -1 where there is none. */
function callFrame({ name, file, line, column }: Frame, script: number) {
  return {
    functionName: name,
    scriptId: String(script),
    url: file.startsWith('node:') || file === '' ? file : urlOf(file),
    lineNumber: line - 1,
    columnNumber: column - 1,
  };
}

const urlOf = (file: string): string => (URL.canParse(file) ? file : pathToFileURL(file).href);
