import type { Mark, RawNode, RawSample, TimeProfiler } from '../../src/observe/profile/native.ts';
import type { Capture } from '../../src/observe/profile/sampler.ts';

/** A stack, from its root on, `hits` times; `service` is whose code it is. */
export interface Stack {
  readonly functions: readonly string[];
  readonly hits?: number;
  readonly service?: string | undefined;
}

interface MutableNode extends RawNode {
  hitCount: number;
  readonly contexts: RawSample[];
  readonly children: MutableNode[];
}

/** What V8 would have given for these stacks, one sample per period. Names in parentheses are V8's own. */
export function captureOf(stacks: readonly Stack[], hertz = 100): Capture {
  const scripts: string[] = [];
  const node = (name: string): MutableNode => {
    const own = name.startsWith('(');
    if (!own && !scripts.includes(name)) scripts.push(name);
    const line = own ? 0 : scripts.indexOf(name) + 1;
    const place = { lineNumber: line, columnNumber: line, scriptId: own ? 0 : 1 };
    return { name, scriptName: own ? '' : '/app/main.js', ...place, hitCount: 0, contexts: [], children: [] };
  };
  const profiler = {} as TimeProfiler;
  const markOf = (service: string | undefined): Mark | undefined =>
    service === undefined ? undefined : { service, profiler };
  const root = node('(root)');
  let at = 1_700_000_000_000_000n;
  let samples = 0;
  for (const { functions, hits = 1, service } of stacks) {
    let top = root;
    for (const name of functions) {
      let child = top.children.find((other) => other.name === name);
      if (child === undefined) {
        child = node(name);
        top.children.push(child);
      }
      top = child;
    }
    for (let i = 0; i < hits; i++) {
      at += BigInt(Math.round(1e6 / hertz));
      samples += 1;
      top.hitCount += 1;
      top.contexts.push({ timestamp: at, context: markOf(service) });
    }
  }
  return { durationMs: (samples * 1000) / hertz, root, pauseMs: 0 };
}
