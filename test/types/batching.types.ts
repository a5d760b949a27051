import { aggregate } from '../../src/policy/aggregate.ts';
import { coalesce } from '../../src/policy/coalesce.ts';

const get = coalesce()(async (id: number, lang: string, signal?: AbortSignal) => ({ id, lang, signal }));
export const x: Promise<{ id: number; lang: string }> = get(1, 'a');
void get(1, 'a', new AbortController().signal);
// @ts-expect-error wrong type
void get('1', 'a');
export const none: Promise<number> = coalesce({ name: 'x' })(() => 1)();
// @ts-expect-error an object needs a key
coalesce()(async (query: { id: number }) => query);
const keyed = coalesce({ key: (query: { id: number }) => query.id });
export const y: Promise<number> = keyed(async (query: { id: number }, _signal?: AbortSignal) => query.id)({
  id: 1,
});
// @ts-expect-error other arguments
keyed(async (query: { name: string }) => query);
class Api {
  n = 1;
  @coalesce()
  async one(id: number, signal?: AbortSignal): Promise<number> {
    return this.n + id + (signal ? 1 : 0);
  }
  @coalesce({ key: (query: { id: number }, n?: number) => query.id + (n ?? 5) })
  async two(query: { id: number }, n?: number): Promise<number> {
    return this.n + query.id + (n ?? 1);
  }
  // @ts-expect-error an object needs a key
  @coalesce()
  async bad(query: { id: number }): Promise<number> {
    return query.id;
  }
  // @ts-expect-error not a promise
  @coalesce()
  sync(): number {
    return 1;
  }
}
export const z: Promise<number> = new Api().one(1);

interface Row {
  readonly id: number;
  readonly name: string;
  readonly message: string;
}
const rowsOf = async (ids: readonly number[]): Promise<Row[]> =>
  ids.map((id) => ({ id, name: '', message: '' }));

const inOrder = aggregate({ leewayMs: 2, maxCount: 500 })(async (ids: readonly number[], signal) => {
  signal.throwIfAborted();
  return await rowsOf(ids);
});
export const row: Promise<Row> = inOrder(1);
export const rowWithSignal: Promise<Row> = inOrder(1, new AbortController().signal);
// @ts-expect-error one argument, not a list
void inOrder([1]);
const some = aggregate()(async (ids: readonly number[]) =>
  ids.map((id) => (id > 1 ? 'text' : new Error('no'))),
);
export const text: Promise<string> = some(1);
const mutable = aggregate()((ids: number[]) => ids);
export const same: Promise<number> = mutable(1);
const byId = aggregate({ by: (row: Row) => row.id })(rowsOf);
export const found: Promise<Row> = byId(1);
// @ts-expect-error its key is a number
void byId('1');
// @ts-expect-error rows have numbers for keys
aggregate({ by: (row: Row) => row.id })(async (ids: readonly string[]) => rowsOf(ids.map(Number)));
// @ts-expect-error a key is primitive
aggregate({ by: (row: Row) => row });
const mapped = aggregate({ by: 'key' })(
  async (ids: readonly string[]) => new Map(ids.map((id) => [id, id.length])),
);
export const length: Promise<number> = mapped('x');
const mixed = aggregate({ by: 'key' })(
  async (ids: readonly string[]) => new Map<string, Row | Error>(ids.map((id) => [id, new Error(id)])),
);
export const mixedRow: Promise<Row> = mixed('x');
// @ts-expect-error not a Map
aggregate({ by: 'key' })(rowsOf);

class Rows {
  readonly prefix = 'x';
  readonly byName = aggregate({ leewayMs: 1 })((names: readonly string[]) =>
    Promise.resolve(names.map((name) => this.prefix + name)),
  );
  @aggregate({ maxInFlight: 1 })
  async double(ids: readonly number[], _signal?: AbortSignal): Promise<number[]> {
    return ids.map((id) => 2 * id + this.prefix.length);
  }
  @aggregate({ by: (row: Row) => row.id })
  async rows(ids: readonly number[]): Promise<Row[]> {
    return await rowsOf(ids);
  }
  @aggregate({ by: 'key' })
  async names(ids: readonly number[]): Promise<Map<number, string>> {
    return new Map(ids.map((id) => [id, '']));
  }
  // @ts-expect-error not a list
  @aggregate()
  async wrong(id: number): Promise<number> {
    return id;
  }
}
const rows = new Rows();
export const list: Promise<Row[]> = rows.rows([1]);
export const doubled: Promise<number[]> = rows.double([1, 2], new AbortController().signal);
export const names: Promise<Map<number, string>> = rows.names([1]);
export const name: Promise<string> = rows.byName('n');
