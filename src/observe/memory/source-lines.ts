import type { Frame } from '../reports.ts';
import { type AllocatingNode, allocatingNodes, type Made } from './allocating-nodes.ts';
import { functionNodes, moduleNodes } from './function-nodes.ts';

/** What is known of an allocation beside the function that made it. */
export type AllocationHint =
  /** The function that it called for that. */
  | { readonly callee: string }
  /**
   * It made a small object itself, or a large one, such as a container's entries; or what may be small and is seldom
   * meant; or it called something.
   */
  | { readonly kind: 'small' | 'large' | 'maybe' | 'call' };

/** A place in a function where allocations can be made. */
export interface AllocationPlace {
  /** From 1 on. */
  readonly line: number;
  /** From 1 on. */
  readonly column: number;
  /** Whether what it makes is handed to a call, which may keep it: rather a leak than what stays in a variable. */
  readonly isArgument: boolean;
  readonly makes: readonly Made[];
  /** The name of what is called there; empty: nothing is, or it has none. */
  readonly callee: string;
}

/** Longer functions and modules are not parsed: it is done in one piece, about 8 ms for so many characters. */
const MAX_CHARACTERS = 50_000;

/** Enough to see what stands before the parameters. */
const HEAD_CHARACTERS = 200;

/** What stands there in an asynchronous function or a generator: `async`, a star, and a name. */
const suspendableHead =
  /(?:\basync\b\s*(?:function\b)?\s*\*?|\*)\s*(?:[#$\w\u0080-\uffff]+|\[[^\]]*\]|'[^']*'|"[^"]*")?\s*$/;

/** A promise or generator, which is made before anything else is run. */
const returned = { isArgument: false, makes: ['maybe'], callee: '' } as const;

/**
 * Where the function that begins at `begin` in its file's text can allocate: V8 records the function only. Functions
 * inside are left out, but for their making. Empty when the text is not that of a function, or when it is too long.
 */
export function allocationPlaces(
  text: string,
  { line, column }: Pick<Frame, 'line' | 'column'>,
): AllocationPlace[] {
  const begin = { line, column };
  const start = offsetOf(text, begin);
  if (start === undefined) return [];
  const isModule = start === 0;
  if (isModule && text.length > MAX_CHARACTERS) return [];
  try {
    const { nodes, shift } = isModule
      ? moduleNodes(text)
      : functionNodes(text.slice(start, start + MAX_CHARACTERS));
    const places = allocatingNodes(nodes).map((node) => placeOf(node, begin, shift));
    return isModule || !isSuspendable(text, start) ? places : [{ ...begin, ...returned }, ...places];
  } catch (thrown) {
    // A RangeError: nested too deeply for the parser's recursion.
    if (thrown instanceof SyntaxError || thrown instanceof RangeError) return [];
    throw thrown;
  }
}

function placeOf(
  { node, isArgument, makes, callee }: AllocatingNode,
  begin: Pick<Frame, 'line' | 'column'>,
  shift: number,
): AllocationPlace {
  const { line, column } = node.loc?.start ?? { line: 1, column: shift };
  return {
    line: begin.line + line - 1,
    column: line === 1 ? begin.column + column - shift : column + 1,
    isArgument,
    makes,
    callee: copyOf(callee),
  };
}

/** A part of a text holds on to all of it (V8's sliced strings), and places are kept. */
const copyOf = (part: string) => Buffer.from(part).toString();

/** Those of a function's places that can have made an allocation of which so much is known. */
export function madeAt<P extends AllocationPlace>(places: readonly P[], hint: AllocationHint): readonly P[] {
  if ('kind' in hint) return places.filter(({ makes }) => makes.includes(hint.kind));
  const name = hint.callee.replace(/^.*\./, '');
  if (name === '') return [];
  const called = places.filter(({ callee }) => callee === name);
  // Buffers are made by functions inside of Node, which V8 may have inlined.
  return called.length === 0 && /Buffer|Array$/.test(name)
    ? places.filter(({ makes }) => makes.includes('buffer'))
    : called;
}

/** V8 has functions begin behind their name, but asynchronous arrow functions at their first word. */
function isSuspendable(text: string, start: number): boolean {
  return (
    suspendableHead.test(text.slice(Math.max(0, start - HEAD_CHARACTERS), start)) ||
    /^async\b/.test(text.slice(start, start + 6))
  );
}

/** `undefined`: the text has no such position, so that it is not what ran. */
function offsetOf(text: string, { line, column }: Pick<Frame, 'line' | 'column'>): number | undefined {
  let begin = 0;
  for (let left = line - 1; left > 0; left--) {
    begin = text.indexOf('\n', begin) + 1;
    if (begin === 0) return undefined;
  }
  const end = text.indexOf('\n', begin);
  const offset = begin + column - 1;
  return offset < (end < 0 ? text.length : end) ? offset : undefined;
}
