import { EventEmitter } from 'node:events';
import type pg from 'pg';

/** Takes the rows of one query as the server sent them. */
export interface RowSink {
  /** The body of a DataRow message: the number of columns, and each one's length and bytes. */
  row(bytes: Buffer, start: number): void;
}

/** See PostgreSQL, "Message Formats": one byte says which message it is, four its length without that byte. */
const HEADER_BYTES = 5;
const DATA_ROW = 0x44;

/** pg calls it with the socket, or with that of TLS: what it reads from there is the server's messages. */
type Attachable = pg.Connection & { attachListeners(stream: EventEmitter): void };

/**
 * Stands between the socket and pg's parser. The parser makes strings of every row, which costs more than all
 * else that is done for a large result; a sink gets the bytes instead. Whatever else the server says goes on to
 * the parser, in order.
 */
export class RowTap {
  /** Takes the rows from now on; without it they are the parser's. */
  sink: RowSink | undefined;
  readonly #rest = new EventEmitter();
  /** How many bytes of the message that the parser is being given are still to come. */
  #toPass = 0;
  /** The beginning of a message that is to be complete first, and how many bytes that takes. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #wantedBytes = 0;

  constructor(connection: pg.Connection) {
    const attachable = connection as Attachable;
    const attach = attachable.attachListeners.bind(connection);
    attachable.attachListeners = (stream) => {
      attach(this.#rest);
      stream.on('data', (chunk: Buffer) => this.push(chunk));
    };
  }

  /** What arrived. */
  push(chunk: Buffer): void {
    if (this.#held.length === 0) {
      this.#split(chunk);
      return;
    }
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    if (this.#heldBytes < this.#wantedBytes) return;
    const bytes = Buffer.concat(this.#held);
    this.#held = [];
    this.#split(bytes);
  }

  #split(bytes: Buffer): void {
    const { length } = bytes;
    let at = Math.min(this.#toPass, length);
    let passed = 0;
    let wanted = HEADER_BYTES;
    this.#toPass -= at;
    while (at + HEADER_BYTES <= length) {
      const end = at + 1 + bytes.readUInt32BE(at + 1);
      if (bytes[at] === DATA_ROW && this.sink !== undefined) {
        if (end > length) {
          wanted = end - at;
          break;
        }
        this.#pass(bytes, passed, at);
        this.sink?.row(bytes, at + HEADER_BYTES);
        passed = end;
      } else if (end > length) {
        this.#toPass = end - length;
      }
      at = Math.min(end, length);
    }
    this.#pass(bytes, passed, at);
    if (at < length) {
      this.#held = [bytes.subarray(at)];
      this.#heldBytes = length - at;
      this.#wantedBytes = wanted;
    }
  }

  #pass(bytes: Buffer, start: number, end: number): void {
    if (start === end) return;
    this.#rest.emit('data', start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
  }
}
