const CENSOR = '[Redacted]';

/** The end of a key that names a secret, in JSON: `password":`, `dbPassword":`, `x-api-key":`, `set-cookie":`. */
const secretKey =
  /(?:pass(?:word|wd|phrase)|pwd|secret|token|(?:api|access|private|secret)[-_]?key|authorization|cookies?|credentials?)":/gi;

/** `scheme://user:password@host`; a `/`, `?` or `#` in the password has to be percent-encoded. */
const urlPassword = /(:\/\/[^\s"/?#@:]*:)[^\s"/?#]+@/g;

/**
 * A line of JSON without its secrets: the values of keys whose names end in one of the built-in names, at any
 * depth and of any type, and the passwords of URLs in any string. One pass over the text costs a tenth of what
 * path-based redaction of the same names does, see docs/logging.md.
 */
export function redactLine(line: string): string {
  const clean = line.includes('://') ? line.replace(urlPassword, `$1${CENSOR}@`) : line;
  secretKey.lastIndex = 0;
  if (!secretKey.test(clean)) return clean;
  let result = '';
  let from = 0;
  do {
    const value = secretKey.lastIndex;
    result += `${clean.slice(from, value)}"${CENSOR}"`;
    from = endOfValue(clean, value);
    secretKey.lastIndex = from;
  } while (secretKey.test(clean));
  return result + clean.slice(from);
}

/** Where the JSON value that begins at `start` ends. */
function endOfValue(text: string, start: number): number {
  if (text[start] === '"') return endOfString(text, start) + 1;
  if (text[start] !== '{' && text[start] !== '[') {
    const length = text.slice(start).search(/[,}\]]/);
    return length === -1 ? text.length : start + length;
  }
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else if (character === '{' || character === '[') depth += 1;
    else if ((character === '}' || character === ']') && --depth === 0) return at + 1;
  }
  return text.length;
}

/** The position of the quote that closes the string opened at `start`. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}
