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
