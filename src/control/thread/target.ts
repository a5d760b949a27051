import { Refusal } from './reply.ts';

/** What a request asks for. */
export interface Target {
  /** The path's parts, decoded. */
  readonly path: readonly string[];
  /** For its query; its host says nothing. */
  readonly url: URL;
}

/** @throws {Refusal} 400 `ERR_URL`: it is malformed, or would lead elsewhere. */
export function targetOf(given: string): Target {
  const base = `http://control.invalid${given}`;
  // A proxy's absolute form, and the `*` of OPTIONS, are nothing that is served here.
  if (!given.startsWith('/') || !URL.canParse(base)) throw malformed();
  const url = new URL(base);
  const [path = ''] = given.split(/[?#]/, 1);
  return { path: path.split('/').slice(1).map(decode), url };
}

function decode(part: string): string {
  let text: string;
  try {
    text = decodeURIComponent(part);
  } catch {
    throw malformed();
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none is to get any further
  if (text === '.' || text === '..' || /[/\\\x00-\x1f\x7f]/.test(text)) throw malformed();
  return text;
}

const malformed = () => new Refusal(400, 'ERR_URL', 'the URL is malformed');
