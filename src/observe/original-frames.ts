import { Worker } from 'node:worker_threads';
import { workerEntry } from '../package-files.ts';
import type { Frame } from './reports.ts';
import { pathOf } from './source-maps.ts';

export type Place = Pick<Frame, 'file' | 'line' | 'column'>;

/** Places in built code, by file. */
export type Question = ReadonlyMap<string, readonly Place[]>;

/** For each of them the author's; none for a file that has no map. */
export type Answer = ReadonlyMap<string, readonly Place[]>;

/** The author's places, by line and column; `undefined` for a file that has no map. */
const known = new Map<string, Map<string, Place> | undefined>();
let knownPlaces = 0;

/** Places and files that are kept. */
const MAX_KNOWN = 50_000;

/** A map of the largest file that is read, and what Node makes of it, need less. */
const MAX_HEAP_MIB = 256;

/**
 * Finds the author's places of frames in built code, as `SourceMaps` does, in a thread of its own: reading the map of a
 * bundle would hold up the loop for a tenth of a second. The thread runs for as long as that takes, and only when there
 * are places that have not been looked up before. Frames stay as they are when there can be no thread.
 */
export async function originalFrames(frames: readonly Frame[]): Promise<Frame[]> {
  if (knownPlaces > MAX_KNOWN) {
    known.clear();
    knownPlaces = 0;
  }
  const question = unknownOf(frames);
  if (question.size > 0) {
    const answer = await ask(question).catch(() => undefined);
    if (answer !== undefined) learn(question, answer);
  }
  return frames.map((frame) => {
    const path = pathOf(frame.file);
    if (path === undefined) return frame;
    return { ...frame, file: path, ...known.get(path)?.get(keyOf(frame)) };
  });
}

function unknownOf(frames: readonly Frame[]): Question {
  const question = new Map<string, Place[]>();
  for (const frame of frames) {
    const path = pathOf(frame.file);
    if (path === undefined || frame.line === 0) continue;
    if (known.has(path) && known.get(path)?.has(keyOf(frame)) !== false) continue;
    const places = question.get(path) ?? [];
    question.set(path, places);
    places.push({ file: path, line: frame.line, column: frame.column });
  }
  return question;
}

async function ask(workerData: Question): Promise<Answer | undefined> {
  const thread = new Worker(workerEntry('observe/source-map-thread'), {
    name: 'bosun source maps',
    workerData,
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
  });
  return await new Promise((resolve) => {
    let answer: Answer | undefined;
    thread.once('message', (message) => {
      answer = message;
    });
    thread.once('error', () => {});
    thread.once('exit', () => resolve(answer));
  });
}

function learn(question: Question, answer: Answer): void {
  for (const [path, places] of question) {
    const originals = answer.get(path);
    knownPlaces += originals?.length ?? 1;
    if (originals === undefined) {
      known.set(path, undefined);
      continue;
    }
    const byKey = known.get(path) ?? new Map<string, Place>();
    known.set(path, byKey);
    for (const [i, place] of places.entries()) byKey.set(keyOf(place), originals[i] as Place);
  }
}

const keyOf = ({ line, column }: Place): string => `${line}:${column}`;
