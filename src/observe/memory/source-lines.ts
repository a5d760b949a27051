/** What is known of an allocation beside the function that made it. */
export type AllocationHint =
  /** The function that it called for that. */
  | { readonly callee: string }
  /** It made an object itself; a container grew; it called something else. */
  | { readonly kind: 'object' | 'growth' | 'call' };

/** A place in a text where an allocation can have been made. */
export interface AllocationPlace {
  readonly offset: number;
  /** Whether it is handed to a call, which may keep it: rather a leak than what stays in a variable. */
  readonly isArgument: boolean;
}

/** So much of a function's text is looked at. */
const MAX_CHARACTERS = 100_000;

const growth = /\.(?:push|unshift|splice|set|add|append|concat|fill|from|alloc\w*)\s*\(|\]\s*=(?![=>])/g;
const creation = new RegExp(
  [
    String.raw`\bnew\s+[\w$.]+`,
    '=>',
    String.raw`\b(?:function|class)\b`,
    '`',
    // Literals: a bracket where an operand is expected.
    String.raw`(?:[(,=:[?&|{;]|\breturn\b|\.\.\.)\s*\[`,
    String.raw`(?:[(,=:[?&|]|\breturn\b)\s*\{`,
    // Strings that are put together.
    String.raw`\+\s*["']|["']\s*\+`,
    String.raw`\bBuffer\.\w+\s*\(|\bJSON\.\w+\s*\(|\bObject\.\w+\s*\(|\bArray\.\w+\s*\(`,
    String.raw`\.(?:map|filter|slice|split|flatMap|flat|concat|bind|toString|join|subarray|entries|keys|values)\s*\(`,
    String.raw`\bstructuredClone\s*\(`,
  ].join('|'),
  'g',
);
const buffers = /\bBuffer\b|\b\w+Array\b|\bArrayBuffer\b|\brandomBytes\b|\.(?:subarray|slice)\s*\(/g;
const call = /(?<![\w$])(?!(?:if|for|while|switch|catch|with|function|return)\b)[\w$]+\s*\(/g;

const patterns = { object: creation, growth, call };

/**
 * Where in a function's text an allocation can have been made: V8 records the function only. `start` is where V8
 * has the function begin (at its parameters; 0: it is the module itself). In the text's order; the functions inside
 * are left out, but for their making.
 */
export function allocations(text: string, start: number, hint: AllocationHint): AllocationPlace[] {
  const masked = mask(text.slice(start, start + MAX_CHARACTERS));
  const [from, to] = start === 0 ? [0, masked.length] : bodyOf(masked);
  const body = withoutInner(masked.slice(from, to));
  const matches = (pattern: RegExp) =>
    [...body.matchAll(pattern)].map((match) => {
      const at = match.index + leading(match[0]);
      return { offset: start + from + at, isArgument: isArgument(body, at) };
    });
  if ('kind' in hint) return matches(patterns[hint.kind]);
  const name = hint.callee.replace(/^(?:get|set|async) /, '').replace(/^.*\./, '');
  if (name === '') return [];
  const called = matches(callOf(name));
  return called.length === 0 && /Buffer|Array$/.test(name) ? matches(buffers) : called;
}

const callOf = (name: string) =>
  new RegExp(
    `(?<![\\w$])${name.replace(/[^\w]/g, '\\$&')}(?:\\s*\\(|\\s*\`|(?<=new\\s+[\\w$.]+)(?![\\w$]))`,
    'g',
  );

/** How far into a match its operand begins, past the operator that showed it to be one. */
const leading = (match: string) =>
  /^[(,=:[?&|{;+]\s*(?=[[{"'])|^return\s*(?=[[{])/.exec(match)?.[0].length ?? 0;

/** Whether a place is between the parentheses of a call. */
function isArgument(body: string, at: number): boolean {
  let depth = 0;
  for (let index = at - 1; index >= 0; index--) {
    const character = body[index] as string;
    if (closing.has(character)) depth++;
    else if (opening.has(character) && --depth < 0) {
      if (character !== '(') return false;
      const word = /([\w$]*)\s*$/.exec(body.slice(Math.max(0, index - 80), index))?.[1] ?? '';
      if (word !== '') return !statements.has(word);
      depth = 0;
    } else if (character === ';' && depth === 0) return false;
  }
  return false;
}

const opening = new Set('([{');
const closing = new Set(')]}');

/** The index of the bracket that closes the one at `open`; the end when there is none. */
function closeOf(masked: string, open: number): number {
  let depth = 0;
  for (let index = open; index < masked.length; index++) {
    const character = masked[index] as string;
    if (opening.has(character)) depth++;
    else if (closing.has(character) && --depth === 0) return index;
  }
  return masked.length;
}

/** Where the expression that begins at `from` ends. */
function endOfExpression(masked: string, from: number): number {
  for (let index = from; index < masked.length; index++) {
    const character = masked[index] as string;
    if (opening.has(character)) index = closeOf(masked, index);
    else if (closing.has(character) || character === ',' || character === ';') return index;
  }
  return masked.length;
}

/** The body of the function whose parameters the text begins with. */
function bodyOf(masked: string): [from: number, to: number] {
  const parameters = /^\s*(?:async\s*)?\(/.exec(masked);
  const after = parameters === null ? 0 : closeOf(masked, parameters[0].length - 1) + 1;
  const next = /=>\s*\{?|\{/.exec(masked.slice(after));
  if (next === null) return [0, 0];
  const from = after + next.index + next[0].length;
  return next[0].endsWith('{') ? [from, closeOf(masked, from - 1)] : [from, endOfExpression(masked, from)];
}

const statements = new Set(['if', 'for', 'while', 'switch', 'catch', 'with', 'await']);

/** With the bodies of the functions inside blank. */
function withoutInner(body: string): string {
  let text = body;
  const blank = (from: number, to: number) => {
    text = text.slice(0, from) + text.slice(from, to).replace(/[^\n]/g, ' ') + text.slice(to);
  };
  for (const { index } of body.matchAll(/=>/g)) {
    const from = index + 2 + (/^\s*/.exec(text.slice(index + 2))?.[0].length ?? 0);
    blank(from, text[from] === '{' ? closeOf(text, from) + 1 : endOfExpression(text, from));
  }
  for (const { index, 0: match } of text.matchAll(/(?<![\w$.])([\w$]*)\s*\(/g)) {
    const word = match.slice(0, -1).trim();
    const close = closeOf(text, index + match.length - 1);
    const block = /^\s*(?::[^{;=()]*)?\{/.exec(text.slice(close + 1, close + 200));
    if (block === null || statements.has(word)) continue;
    const open = close + block[0].length;
    blank(open, closeOf(text, open) + 1);
  }
  return text;
}

const literals =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*'|[`{}]|\/(?![/*])/g;
const expression = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;

/** The text with what is not code blank (comments, and what is inside of strings), of the same length. */
function mask(text: string): string {
  let result = '';
  let position = 0;
  /** For every open template, how many braces are open inside its expression; -1: in its text. */
  const templates: number[] = [];
  const keep = (to: number) => {
    result += text.slice(position, to);
    position = to;
  };
  const blank = (to: number) => {
    result += text.slice(position, to).replace(/[^\n]/g, ' ');
    position = to;
  };
  while (position < text.length) {
    if (templates.at(-1) === -1) {
      const end = /(?<!\\)(?:\\\\)*(`|\$\{)/g;
      end.lastIndex = position;
      const found = end.exec(text);
      blank(found === null ? text.length : end.lastIndex);
      if (found?.[1] === '`') templates.pop();
      else templates[templates.length - 1] = 0;
      continue;
    }
    literals.lastIndex = position;
    const found = literals.exec(text);
    if (found === null) break;
    const [token] = found;
    keep(found.index);
    const open = templates.length - 1;
    if (token === '`') {
      keep(position + 1);
      templates.push(-1);
    } else if (token === '{') {
      keep(position + 1);
      if (open >= 0) templates[open] = (templates[open] as number) + 1;
    } else if (token === '}') {
      if (open >= 0 && templates[open] === 0) {
        blank(position + 1);
        templates[open] = -1;
      } else {
        keep(position + 1);
        if (open >= 0) templates[open] = (templates[open] as number) - 1;
      }
    } else if (token === '/') {
      expression.lastIndex = position;
      const isOperand = /(?:[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|in|of))\s*$|^\s*$/.test(
        result.slice(-40),
      );
      if (isOperand && expression.test(text)) blank(expression.lastIndex);
      else keep(position + 1);
    } else if (token.startsWith('/')) {
      blank(position + token.length);
    } else {
      keep(position + 1);
      blank(position + token.length - 2);
      keep(position + 1);
    }
  }
  keep(text.length);
  return result;
}
