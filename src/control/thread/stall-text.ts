import type { Frame, Stall } from '../../observe/reports.ts';
import { isOwn } from './looks.ts';

/** So that a line is written in one piece to a pipe (4 KiB), in any format. */
const MAX_FRAMES = 20;
const MAX_STACK_CHARACTERS = 2_500;

/** `the main loop was blocked for 231 ms by spin (/app/api.ts:12:5), service api` */
export function stallText(stall: Stall, inNative: boolean): string {
  const { over, durationMs } = stall;
  return `the main loop ${over ? 'was' : 'has been'} blocked for ${Math.round(durationMs)} ms${cause(stall, inNative)}`;
}

function cause({ over, service, stack, lastSeen }: Stall, inNative: boolean): string {
  const top = stack.find(isOwn) ?? stack[0];
  if (top === undefined) return over ? '' : ': its stack cannot be seen yet, it may be in native code';
  if (lastSeen) return `${inNative ? ' in native code' : ''}, last seen: ${describe(top)}`;
  const whose = service === undefined ? '' : `, service ${service}`;
  return `${inNative ? ' in native code called' : ''} by ${describe(top)}${whose}`;
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

const describe = ({ name, file, line, column }: Frame) => {
  const at = `${file}:${line}:${column}`;
  return name === '' ? at : `${name} (${at})`;
};
