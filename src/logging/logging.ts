import { type LogFn, type Logger, pino } from 'pino';
import { toError } from '../errors.ts';
import { logFields } from './fields.ts';
import { detectFormat, type Render, renderer } from './format.ts';
import type { LogOptions } from './options.ts';
import { type MidLine, midLineOf } from './output.ts';
import { redactLine } from './redact.ts';
import { Sink } from './sink.ts';

/** The log of one entrypoint. */
export interface Logging {
  /**
   * The root logger. Setting its `level` takes effect at once, also for the children that it has already,
   * save those that were given a level of their own.
   */
  readonly logger: Logger;
  /** How many lines have been dropped so far, for want of room or of a reader. */
  readonly dropped: number;
  /** What another thread needs to write lines of the same log. */
  readonly share: LogShare;
  /** Calls `listener` with every line, as JSON and without its secrets. Returns the way to end that. */
  tap(listener: (line: string) => void): () => void;
  /** Waits until all that waits is written, at most `flushTimeoutMs`. Never rejects. */
  flush(): Promise<void>;
  /**
   * Flushes, then says on stderr what had to be dropped. Every caller gets the same promise; it never rejects.
   * A line that is logged later is written if there is room for it at that moment, else dropped.
   */
  close(): Promise<void>;
}

/** Where the log goes, and what tells it how. */
export interface LogTarget {
  /** Default: stdout. */
  readonly fd?: number;
  readonly env?: NodeJS.ProcessEnv;
  /** Another thread whose log this one is part of. Default: none. */
  readonly others?: MidLine;
}

/** A log as another thread can write to it: `createLogging(options, target)` there. */
export interface LogShare {
  readonly options: LogOptions;
  readonly target: Required<Pick<LogTarget, 'fd' | 'others'>>;
}

/** Sets up the log. Nothing is opened before the first line. */
export function createLogging(options: LogOptions, target: LogTarget = {}): Logging {
  const { fd = 1, env = process.env, others } = target;
  const { bufferBytes, flushIntervalMs, flushTimeoutMs } = options;
  const format = options.format ?? detectFormat(fd, env);
  const render = renderer(format);
  const sink = new Sink({
    fd,
    others,
    bufferBytes,
    flushIntervalMs,
    flushTimeoutMs,
    render: (line) => renderSafely(render, redactLine(line)),
    reportDropped: (dropped) => {
      const level = logger.isLevelEnabled('warn') ? 'warn' : (logger.level as 'error');
      logger[level]({ dropped }, `${dropped} log lines dropped`);
    },
  });
  const taps = new Set<(line: string) => void>();
  const stream = {
    write(line: string) {
      sink.write(line);
      if (taps.size === 0) return;
      const clean = redactLine(line);
      for (const tap of taps) tap(clean);
    },
    // What pino's `logger.flush(callback)` calls.
    flush: (done: () => void) => void sink.flush().then(done),
  };
  const logger: Logger = pino(
    {
      level: options.level,
      ...(options.redact.length > 0 && { redact: options.redact }),
      mixin: fieldsFor,
      mixinMergeStrategy: (line, fields) => (fields === none ? line : { ...fields, ...line }),
      serializers: { err: serializeError },
      hooks: { logMethod: neverThrowing(() => sink.countUnwritable()) },
    },
    stream,
  );
  return {
    logger,
    get dropped() {
      return sink.dropped;
    },
    get share() {
      const level = logger.level as LogOptions['level'];
      return { options: { ...options, format, level }, target: { fd, others: midLineOf(fd) } };
    },
    tap(listener) {
      const entry = (line: string) => listener(line);
      taps.add(entry);
      return () => void taps.delete(entry);
    },
    flush: () => sink.flush(),
    close: () => sink.close(),
  };
}

/** A child can be given a formatter that makes a line no JSON: it goes out as it is. */
function renderSafely(render: Render, line: string): string {
  try {
    return render(line);
  } catch {
    return line;
  }
}

/** pino adds the messages of the causes to the error's own, which says them already. */
function serializeError(error: Error): object {
  const serialized = pino.stdSerializers.err(error);
  return { ...serialized, message: error?.message ?? serialized?.message };
}

const none = {};

/** The fields in scope but those that the logger itself carries: JSON with a key twice is refused by some. */
function fieldsFor(_line: object, _level: number, logger: Logger): object {
  const fields = logFields();
  if (fields === undefined) return none;
  const own = (logger as unknown as Record<symbol, string>)[pino.symbols.chindingsSym] ?? '';
  return Object.fromEntries(Object.entries(fields).filter(([key]) => !own.includes(`"${key}":`)));
}

/** A getter, serializer or `toJSON` that throws costs the line its fields, never the caller its run. */
function neverThrowing(onUnwritable: () => void) {
  return function logMethod(this: Logger, args: Parameters<LogFn>, method: LogFn): void {
    try {
      method.apply(this, args);
    } catch (thrown) {
      try {
        const message = args.find((argument) => typeof argument === 'string');
        method.call(this, { logError: toError(thrown).message }, message ?? 'a line could not be logged');
      } catch {
        onUnwritable();
      }
    }
  };
}
