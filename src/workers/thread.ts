/** What a worker thread runs: piscina calls `run`. @internal */
import { MessageChannel, parentPort, type Transferable, threadId } from 'node:worker_threads';
import { type Link, Runner } from './runner.ts';
import { transferredWith } from './transfer.ts';
import type { LogLine, Request, ToWorker } from './wire.ts';

/** Log lines that may wait for the main thread to read them. */
const MAX_UNREAD_LINES = 1_000;

const { port1: port, port2 } = new MessageChannel();
/** How many log lines the main thread has read: it counts while this thread is blocked, too. */
const read = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
let sent = 0;

const link: Link = {
  post: (message, transfer = []) => port.postMessage(message, transfer),
  log(line: LogLine) {
    if (sent - Atomics.load(read, 0) >= MAX_UNREAD_LINES) return false;
    port.postMessage(line);
    sent += 1;
    return true;
  },
};
const runner = new Runner(link);
port.on('message', (message: ToWorker) => runner.receive(message));
port.unref();
parentPort?.postMessage({ thread: threadId, port: port2, read }, [port2]);

/** Runs a task; nothing, when a thread was all that was wanted. */
export function run(request: Request | undefined): unknown {
  if (request === undefined) return;
  const result = runner.run(request);
  return result instanceof Promise ? result.then(withTransfers) : withTransfers(result);
}

function withTransfers(result: unknown): unknown {
  const list = transferredWith(result);
  return list === undefined ? result : movable(result, list);
}

async function movable(result: unknown, list: readonly Transferable[]): Promise<unknown> {
  const { Piscina } = await import('piscina');
  return Piscina.move({
    get [Piscina.transferableSymbol]() {
      return list;
    },
    get [Piscina.valueSymbol]() {
      return result;
    },
  } as never);
}
