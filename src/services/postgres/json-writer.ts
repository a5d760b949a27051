const FIRST_BYTES = 16 * 1024;
/** A buffer that a large result has made larger than this is not kept. */
const KEPT_BYTES = 1024 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;

/** What stands for each byte that a JSON string must not hold, as `JSON.stringify` writes it. */
const escapes: readonly (Buffer | undefined)[] = Array.from({ length: 256 }, (_, byte) => {
  const must = byte < FIRST_PRINTABLE || byte === QUOTE || byte === BACKSLASH;
  return must ? Buffer.from(JSON.stringify(String.fromCharCode(byte)).slice(1, -1)) : undefined;
});

const nullText = Buffer.from('null');

/** JSON text that grows at its end, in a buffer that is used again and again. */
export class JsonWriter {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;

  /** Begins anew. */
  clear(): void {
    this.#length = 0;
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  }

  /** A copy of what was written. */
  toBuffer(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  byte(byte: number): void {
    this.#need(1);
    this.#bytes[this.#length++] = byte;
  }

  null(): void {
    this.copy(nullText, 0, nullText.length);
  }

  /** Bytes as they are. */
  copy(source: Buffer, start: number, end: number): void {
    this.#need(end - start);
    const bytes = this.#bytes;
    let length = this.#length;
    // For the few bytes of a value this is faster than a call of `copy`, and for many not much slower.
    for (let at = start; at < end; at++) bytes[length++] = source[at] as number;
    this.#length = length;
  }

  /** UTF-8 bytes as a JSON string. */
  string(source: Buffer, start: number, end: number): void {
    this.#need(end - start + 2);
    let bytes = this.#bytes;
    let length = this.#length;
    bytes[length++] = QUOTE;
    for (let at = start; at < end; at++) {
      const byte = source[at] as number;
      if (byte >= FIRST_PRINTABLE && byte !== QUOTE && byte !== BACKSLASH) {
        bytes[length++] = byte;
      } else {
        const escaped = escapes[byte] as Buffer;
        this.#length = length;
        this.#need(escaped.length + end - at);
        bytes = this.#bytes;
        length += escaped.copy(bytes, length);
      }
    }
    bytes[length++] = QUOTE;
    this.#length = length;
  }

  /** JSON text. */
  json(text: string): void {
    this.#need(text.length * 3);
    this.#length += this.#bytes.write(text, this.#length);
  }

  #need(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
