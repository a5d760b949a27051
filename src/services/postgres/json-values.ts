import pg from 'pg';
import { toError } from '../../errors.ts';
import { PostgresJsonTypeError } from './errors.ts';
import type { JsonWriter } from './json-writer.ts';

/** Makes a value of the server's text for it, as in pg's rows. */
export type Parser = (text: string) => unknown;

/** Writes one value, given as the server's text, as JSON. */
export type ValueWriter = (out: JsonWriter, bytes: Buffer, start: number, end: number) => void;

const { builtins } = pg.types;

/** The parser of all types of which pg makes nothing but a string: no type has this number. */
const asString: Parser = pg.types.getTypeParser(0 as never);

/**
 * Writes the values of a column as `JSON.stringify` would write those in pg's rows.
 *
 * @param statement its name or text, for the error.
 */
export function valueWriter(field: pg.FieldDef, parser: Parser, statement: string): ValueWriter {
  if (parser === asString) return string;
  const made: ValueWriter = (out, bytes, start, end) => {
    out.json(jsonOf(parser(bytes.toString('utf8', start, end)), field, statement));
  };
  const known = byType[field.dataTypeID];
  return known !== undefined && isUsual(parser, known) ? known.writer(made) : made;
}

/** A type whose values can be written without being made. */
interface KnownType {
  readonly sample: string;
  /** What pg's own parser makes of the sample. */
  readonly json: string;
  /** `made` is for the values that are too special. */
  writer(made: ValueWriter): ValueWriter;
}

/** Whether the parser is pg's own, by its answer: pg may have been told another. */
function isUsual(parser: Parser, { sample, json }: KnownType): boolean {
  try {
    return JSON.stringify(parser(sample)) === json;
  } catch {
    return false;
  }
}

function jsonOf(value: unknown, { name, dataTypeID }: pg.FieldDef, statement: string): string {
  let cause: Error | undefined;
  try {
    const json = JSON.stringify(value);
    if (json !== undefined) return json;
  } catch (thrown) {
    cause = toError(thrown);
  }
  throw new PostgresJsonTypeError(name, dataTypeID, statement, value, cause);
}

const codeOf = (character: string) => character.charCodeAt(0);
const [DASH, DOT, COLON, SPACE, PLUS] = [codeOf('-'), codeOf('.'), codeOf(':'), codeOf(' '), codeOf('+')];
const [ZERO, NINE, LETTER_T] = [codeOf('0'), codeOf('9'), codeOf('t')];

const verbatim: ValueWriter = (out, bytes, start, end) => out.copy(bytes, start, end);
const string: ValueWriter = (out, bytes, start, end) => out.string(bytes, start, end);

const trueText = Buffer.from('true');
const falseText = Buffer.from('false');

const boolean: ValueWriter = (out, bytes, start) => {
  const text = bytes[start] === LETTER_T ? trueText : falseText;
  out.copy(text, 0, text.length);
};

/** A decimal number of up to as many digits is the same again after it has been a double; old servers send more. */
const SAFE_DIGITS = 15;

const float =
  (made: ValueWriter): ValueWriter =>
  (out, bytes, start, end) => {
    const write = end - start <= SAFE_DIGITS && isPlainDecimal(bytes, start, end) ? verbatim : made;
    write(out, bytes, start, end);
  };

/** Neither `1e+20` nor `NaN`, nor `-0`, which is 0 in JSON. */
function isPlainDecimal(bytes: Buffer, start: number, end: number): boolean {
  if (end - start === 2 && bytes[start] === DASH && bytes[start + 1] === ZERO) return false;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (!(byte >= ZERO && byte <= NINE) && byte !== DOT && byte !== DASH) return false;
  }
  return true;
}

/** `2026-11-22 10:20:30.405+00` is written as `2026-11-22T10:20:30.405Z`, as by Date, which cuts the rest off. */
const utcTime =
  (made: ValueWriter): ValueWriter =>
  (out, bytes, start, end) => {
    if (!isUtcTime(bytes, start, end)) {
      made(out, bytes, start, end);
      return;
    }
    bytes.copy(isoText, 1, start, start + 10);
    bytes.copy(isoText, 12, start + 11, start + 19);
    const zoneAt = end - 3;
    for (let i = 0; i < 3; i++) {
      const at = start + 20 + i;
      isoText[21 + i] = at < zoneAt ? (bytes[at] as number) : ZERO;
    }
    out.copy(isoText, 0, isoText.length);
  };

/** Filled in for every time. */
const isoText = Buffer.from('"YYYY-MM-DDThh:mm:ss.mmmZ"');

/** `YYYY-MM-DD HH:MM:SS[.f]+00`. */
function isUtcTime(bytes: Buffer, start: number, end: number): boolean {
  return (
    bytes[start + 4] === DASH &&
    bytes[start + 7] === DASH &&
    bytes[start + 10] === SPACE &&
    bytes[start + 13] === COLON &&
    bytes[start + 16] === COLON &&
    bytes[end - 3] === PLUS &&
    bytes[end - 2] === ZERO &&
    bytes[end - 1] === ZERO
  );
}

const byType: Readonly<Record<number, KnownType>> = {
  [builtins.INT2]: { sample: '-12', json: '-12', writer: () => verbatim },
  [builtins.INT4]: { sample: '-12', json: '-12', writer: () => verbatim },
  [builtins.OID]: { sample: '12', json: '12', writer: () => verbatim },
  [builtins.INT8]: { sample: '9007199254740993', json: '"9007199254740993"', writer: () => string },
  [builtins.BOOL]: { sample: 't', json: 'true', writer: () => boolean },
  [builtins.FLOAT4]: { sample: '1.50', json: '1.5', writer: float },
  [builtins.FLOAT8]: { sample: '1.50', json: '1.5', writer: float },
  [builtins.TIMESTAMPTZ]: {
    sample: '2000-01-02 03:04:05.0678+00',
    json: '"2000-01-02T03:04:05.067Z"',
    writer: utcTime,
  },
  // As the server has them: with their white space, and every digit of their numbers.
  [builtins.JSON]: { sample: '{"a": 1.0}', json: '{"a":1}', writer: () => verbatim },
  [builtins.JSONB]: { sample: '{"a": 1.0}', json: '{"a":1}', writer: () => verbatim },
};
