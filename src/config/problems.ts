import { BosunError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { SourceText } from './source-text.ts';

/** One thing that is wrong with a config. */
export interface ConfigProblem {
  /** The absolute path; `undefined` when it is in the environment or on the command line. */
  readonly file?: string;
  /** From 1; `undefined` where the form has no positions (`.ts`, `.js`). */
  readonly line?: number;
  /** From 1. */
  readonly column?: number;
  /** Which option, as the file spells it: `services.api.port`; or `BOSUN_LOG_LEVEL`, or `--log-level`. */
  readonly path: string;
  /** What it must be, or what is wrong. */
  readonly rule: string;
  /** The value that was given, shortened; a secret is not shown. */
  readonly received?: string;
  /** The nearest valid spelling. */
  readonly suggestion?: string;
  /** The line of the file, with secrets masked. */
  readonly excerpt?: string;
}

/** A config that cannot be used: every problem at once. */
export class ConfigError extends BosunError {
  readonly code = 'ERR_CONFIG';
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map(inOneLine).join('; '));
    this.problems = problems;
  }
}

/** Where something stands. */
export interface Place {
  readonly source?: SourceText | undefined;
  readonly line?: number | undefined;
  readonly column?: number | undefined;
}

interface Found {
  readonly place: Place;
  readonly path: readonly string[];
  readonly rule: string;
  readonly received?: string | undefined;
  readonly suggestion?: string | undefined;
}

/** Gathers what is wrong, so that all of it is reported together. */
export class Problems {
  readonly #found: Found[] = [];

  add(problem: Found): void {
    this.#found.push(problem);
  }

  addAll(others: Problems): void {
    this.#found.push(...others.#found);
  }

  get count(): number {
    return this.#found.length;
  }

  /** Whether something is known to be wrong there, or below. */
  covers(path: readonly string[]): boolean {
    return this.#found.some((found) => path.every((part, index) => found.path[index] === part));
  }

  /** @throws {ConfigError} `ERR_CONFIG` when there is any. */
  throwIfAny(): void {
    if (this.#found.length > 0) throw this.toError();
  }

  /** The problems in the order of the file; only now, as the masks of all secrets are known. */
  toError(): ConfigError {
    const sorted = this.#found.toSorted(
      (a, b) => (a.place.line ?? 0) - (b.place.line ?? 0) || (a.place.column ?? 0) - (b.place.column ?? 0),
    );
    return new ConfigError(
      sorted.map(({ place: { source, line, column }, path, rule, received, suggestion }) => ({
        ...(source === undefined ? {} : { file: source.file }),
        ...(line === undefined ? {} : { line }),
        ...(column === undefined ? {} : { column }),
        path: path.join('.'),
        rule: source?.scrub(rule) ?? rule,
        ...(received === undefined ? {} : { received }),
        ...(suggestion === undefined ? {} : { suggestion }),
        ...(source === undefined || line === undefined ? {} : { excerpt: source.maskedLine(line) }),
      })),
    );
  }
}

/** The rule for a name that does not exist: what there is, unless one is near enough to be suggested. */
export function unknownName(
  name: string,
  known: readonly string[],
  what = 'does not exist',
): { rule: string; suggestion?: string } {
  const suggestion = nearest(name, known);
  if (suggestion !== undefined) return { rule: what, suggestion };
  return { rule: known.length === 0 ? what : `${what} (there are: ${known.join(', ')})` };
}

function inOneLine({ file, line, column, ...problem }: ConfigProblem): string {
  const place = [file, line, column].filter((part) => part !== undefined).join(':');
  return `${place === '' ? '' : `${place}: `}${describe(problem)}`;
}

function describe({ path, rule, received, suggestion }: ConfigProblem): string {
  const value = received === undefined ? '' : `, received ${received}`;
  const hint = suggestion === undefined ? '' : ` (did you mean "${suggestion}"?)`;
  return `${path === '' ? '' : `${path} `}${rule}${value}${hint}`;
}

/** As much of a line as fits beside its number. */
const EXCERPT_WIDTH = 100;

/** The problems for people, as a compiler shows them: the place, what is wrong, the line with a caret. */
export function renderProblems(problems: readonly ConfigProblem[], relativeTo = process.cwd()): string {
  const blocks = problems.map((problem) => {
    const { file, line, column, excerpt } = problem;
    const shownFile = file?.startsWith(`${relativeTo}/`) ? file.slice(relativeTo.length + 1) : file;
    const place = [shownFile, line, column].filter((part) => part !== undefined).join(':');
    const head = `${place === '' ? '' : `${place}: `}error: ${describe(problem)}`;
    if (excerpt === undefined || line === undefined || column === undefined) return head;
    const from = Math.max(0, column - 1 - EXCERPT_WIDTH / 2);
    const gutter = `  ${line} | `;
    const before = excerpt.slice(from, column - 1).replace(/[^\t]/g, ' ');
    return `${head}\n${gutter}${excerpt.slice(from, from + EXCERPT_WIDTH)}\n${' '.repeat(gutter.length)}${before}^`;
  });
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
  return `${blocks.join('\n\n')}\n\n${count}\n`;
}
