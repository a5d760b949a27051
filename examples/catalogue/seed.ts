/** How much the seed holds. */
export const seedSize = { brands: 250, products: 100_000 } as const;

const RANDOM_SEED = 20_240_229;

const adjectives =
  'Amber Arctic Bold Bright Calm Copper Coral Crisp Deep Fair Fresh Gentle Grand Quiet Swift True'.split(' ');
const places =
  'Bay Bridge Brook Cliff Field Harbour Hill Island Lake Meadow Mill Moor Orchard River Valley Wharf'.split(
    ' ',
  );
const garments = [
  'anorak',
  'belt',
  'boots',
  'cap',
  'cardigan',
  'gloves',
  'jacket',
  'jeans',
  'jumper',
  'parka',
];
const colours = ['black', 'blue', 'brown', 'cream', 'green', 'grey', 'navy', 'olive', 'red', 'white'];

/** mulberry32: a small generator whose sequence is the same everywhere. Gives numbers in [0, 1). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The names of the brands, all different; brand number n is the n-th, from 1. */
export function brandNames(): string[] {
  const all = adjectives.flatMap((adjective) => places.map((place) => `${adjective} ${place}`));
  const random = generator(RANDOM_SEED);
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [all[i], all[j]] = [all[j] as string, all[i] as string];
  }
  return all.slice(0, seedSize.brands);
}

/** One row of the seed's products. */
export interface SeedProduct {
  readonly product_name: string;
  readonly brand_id: number;
}

/** The products in batches of `batchSize`, always the same ones. */
export function* productBatches(batchSize: number): Generator<SeedProduct[]> {
  const random = generator(RANDOM_SEED + 1);
  const pick = (from: readonly string[]) => from[Math.floor(random() * from.length)] as string;
  for (let from = 0; from < seedSize.products; from += batchSize) {
    const length = Math.min(batchSize, seedSize.products - from);
    yield Array.from({ length }, (_, i) => ({
      product_name: `${pick(colours)} ${pick(garments)} ${from + i + 1}`,
      brand_id: 1 + Math.floor(random() * seedSize.brands),
    }));
  }
}
