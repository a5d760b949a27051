import type { Place } from './problems.ts';

/** A value of a config with the place where it stands, whatever the form of the file. */
export type ConfigNode = MapNode | ListNode | ScalarNode;

export interface MapNode {
  readonly kind: 'map';
  readonly place: Place;
  readonly entries: ReadonlyMap<string, Entry>;
}

export interface Entry {
  /** Where the key stands. */
  readonly place: Place;
  readonly node: ConfigNode;
}

export interface ListNode {
  readonly kind: 'list';
  readonly place: Place;
  readonly items: readonly ConfigNode[];
}

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly place: Place;
  readonly value: unknown;
  /** The number, boolean or null that a text out of the environment may stand for. */
  readonly reread?: number | boolean | null;
  /** The value as a message shows it, without secrets. */
  readonly shown: string;
}

/** Whether it is an object that holds values, and nothing of a class. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // A module of another realm (a test runner's) has another Object.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** What a message says was received. */
export const shownNode = (node: ConfigNode): string =>
  node.kind === 'map' ? 'a map' : node.kind === 'list' ? 'a list' : node.shown;
