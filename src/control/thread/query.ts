import { describeProblem } from '../../errors.ts';
import { nearest } from '../../nearest.ts';
import { Refusal } from './reply.ts';

/** Reads the parameters of a request; whatever is wrong with one is a `Refusal` with status 400. */
export class Query {
  readonly #parameters: URLSearchParams;

  /** @throws {Refusal} when there is one that is not `known`, or one twice. */
  constructor(url: URL, known: readonly string[]) {
    this.#parameters = url.searchParams;
    for (const name of this.#parameters.keys()) {
      if (!known.includes(name)) throw unknown(name, known);
      if (this.#parameters.getAll(name).length > 1) throw refuse(name, 'must be given once', undefined);
    }
  }

  text(name: string): string | undefined {
    return this.#parameters.get(name) ?? undefined;
  }

  oneOf<Value extends string>(name: string, values: readonly Value[]): Value | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = values.find((candidate) => candidate === text);
    if (value === undefined)
      throw refuse(name, `must be one of ${values.filter((value) => value !== '').join(', ')}`, text);
    return value;
  }

  integer(name: string, min: number, max: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) {
      throw refuse(name, `must be an integer between ${min} and ${max}`, text);
    }
    return value;
  }

  /** `follow`, `follow=1` and `follow=true` say yes. */
  flag(name: string): boolean {
    const value = this.oneOf(name, ['', '1', 'true', '0', 'false']);
    return value !== undefined && value !== '0' && value !== 'false';
  }
}

function refuse(name: string, rule: string, received: unknown, suggestion?: string): Refusal {
  const problem = { path: [name], rule, received, ...(suggestion !== undefined && { suggestion }) };
  return new Refusal(400, 'ERR_OPTIONS', describeProblem(problem));
}

function unknown(name: string, known: readonly string[]): Refusal {
  const suggestion = nearest(name, known);
  const rule = known.length === 0 ? 'does not exist' : `does not exist (there are: ${known.join(', ')})`;
  return refuse(name, suggestion === undefined ? rule : 'does not exist', undefined, suggestion);
}
