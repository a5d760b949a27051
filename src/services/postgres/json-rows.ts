import type pg from 'pg';
import { type Parser, type ValueWriter, valueWriter } from './json-values.ts';
import type { JsonWriter } from './json-writer.ts';

/** One key of the rows' objects, or one place of their arrays. */
interface Column {
  /** Its place in what the server sends. */
  readonly index: number;
  /** What precedes the value. */
  readonly prefix: Buffer;
  readonly write: ValueWriter;
}

export type RowShape = 'object' | 'array';

/** How a row begins and ends. */
const brackets: Readonly<Record<RowShape, Buffer>> = { object: Buffer.from('{}'), array: Buffer.from('[]') };

/** How the rows of a statement become JSON: made for one row description, used for all of its rows. */
export class JsonRows {
  readonly #fields: readonly pg.FieldDef[];
  readonly #parsers: readonly Parser[];
  readonly #columns: readonly Column[];
  readonly #brackets: Buffer;
  /** Where each value of the row at hand begins and ends; NULL begins at -1. */
  readonly #starts: Int32Array;
  readonly #ends: Int32Array;

  /** `statement` is its name or text, for errors. */
  constructor(
    fields: readonly pg.FieldDef[],
    parsers: readonly Parser[],
    shape: RowShape,
    statement: string,
  ) {
    this.#fields = fields;
    this.#parsers = parsers;
    this.#brackets = brackets[shape];
    this.#starts = new Int32Array(fields.length);
    this.#ends = new Int32Array(fields.length);
    const indices = shape === 'object' ? keyOrder(fields) : [...fields.keys()];
    this.#columns = indices.map((index, place) => {
      const field = fields[index] as pg.FieldDef;
      const comma = place === 0 ? '' : ',';
      const key = shape === 'object' ? `${JSON.stringify(field.name)}:` : '';
      return {
        index,
        prefix: Buffer.from(comma + key),
        write: valueWriter(field, parsers[index] as Parser, statement),
      };
    });
  }

  /** Whether it is right for rows of this description, too. */
  suits(fields: readonly pg.FieldDef[], parsers: readonly Parser[], shape: RowShape): boolean {
    return (
      brackets[shape] === this.#brackets &&
      fields.length === this.#fields.length &&
      fields.every(
        (field, i) =>
          field.name === this.#fields[i]?.name &&
          field.dataTypeID === this.#fields[i]?.dataTypeID &&
          parsers[i] === this.#parsers[i],
      )
    );
  }

  /** Writes the row whose DataRow message has its body at `start`. */
  write(out: JsonWriter, bytes: Buffer, start: number): void {
    const starts = this.#starts;
    const ends = this.#ends;
    // The number of columns, which the row description has told.
    let at = start + 2;
    for (let i = 0; i < starts.length; i++) {
      const length = bytes.readInt32BE(at);
      at += 4;
      starts[i] = length < 0 ? -1 : at;
      if (length > 0) at += length;
      ends[i] = at;
    }
    out.byte(this.#brackets[0] as number);
    for (const { index, prefix, write } of this.#columns) {
      out.copy(prefix, 0, prefix.length);
      const from = starts[index] as number;
      if (from < 0) out.null();
      else write(out, bytes, from, ends[index] as number);
    }
    out.byte(this.#brackets[1] as number);
  }
}

/** Which columns a row object has, in the order of its keys: the last of one name counts, and numbers come first. */
function keyOrder(fields: readonly pg.FieldDef[]): number[] {
  const row: Record<string, number> = Object.create(null);
  fields.forEach(({ name }, index) => {
    row[name] = index;
  });
  return Object.values(row);
}
