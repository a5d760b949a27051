import { service } from 'bosun';
import { CacheService } from 'bosun/services/cache';
import { PostgresService } from 'bosun/services/postgres';

/** How many products a brand has. */
export interface BrandSummary {
  readonly brand_id: number;
  readonly brand_name: string;
  readonly products: number;
}

const PRODUCTS_PER_BRAND = `
  SELECT brand_id, brand_name, count(product_id)::integer AS products
  FROM brand LEFT JOIN product USING (brand_id)
  GROUP BY brand_id, brand_name
  ORDER BY brand_id
`;

/** The number of products of every brand, counted afresh every `interval`. */
export class Summary extends (CacheService<readonly BrandSummary[]>).extend({
  database: service(PostgresService),
}) {
  protected override async load(): Promise<readonly BrandSummary[]> {
    const { rows } = await this.options.database.query<BrandSummary>(PRODUCTS_PER_BRAND);
    return rows;
  }
}
