import type { Frame, Stall } from '../../observe/reports.ts';

/** So that a line is written in one piece to a pipe (4 KiB), in any format. */
const MAX_FRAMES = 20;
const MAX_STACK_CHARACTERS = 2_500;

/** `the main loop was blocked for 231 ms by spin (/app/api.ts:12:5), service api` */
export function stallText({ over, durationMs, service, stack }: Stall, inNative: boolean): string {
  const culprit = stack.find(isOwn) ?? stack[0];
  const where = inNative ? ' in native code called' : '';
  const by =
    culprit === undefined
      ? over
        ? ''
        : ': its stack cannot be seen yet, it may be in native code'
      : `${where} by ${describe(culprit)}`;
  const whose = service === undefined ? '' : `, service ${service}`;
  return `the main loop ${over ? 'was' : 'has been'} blocked for ${Math.round(durationMs)} ms${by}${whose}`;
}

/** The fields of a stall's line in the log. */
export function stallFields({ durationMs, service, stack }: Stall) {
  let characters = 0;
  const frames: string[] = [];
  for (const frame of stack.slice(0, MAX_FRAMES).map(describe)) {
    characters += frame.length;
    if (characters > MAX_STACK_CHARACTERS) break;
    frames.push(frame);
  }
  return { durationMs: Math.round(durationMs), culprit: service, stack: frames };
}

/** Code that somebody wrote for this daemon, or chose for it: not Node's own, and not what it calls. */
const isOwn = ({ file }: Frame) => file !== '' && !file.startsWith('node:');

const describe = ({ name, file, line, column }: Frame) => {
  const at = `${file}:${line}:${column}`;
  return name === '' ? at : `${name} (${at})`;
};
