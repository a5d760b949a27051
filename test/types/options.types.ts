import { z } from 'zod';
import { type Scope, Service, type StopReason, service } from '../../src/service.ts';

abstract class Base extends Service.extend({ port: z.number(), host: z.string().default('127.0.0.1') }) {
  protected abstract createApplication(scope: Scope): unknown;
  override async start(_scope: Scope): Promise<void> {
    const port: number = this.options.port;
    const host: string = this.options.host;
    void [port, host];
  }
}
class Database extends Service.extend({ url: z.string() }) {
  async start() {}
  query(text: string): string {
    return text;
  }
}
class Products extends Base.extend({ database: service(Database), label: z.string().optional() }) {
  protected override async createApplication(_scope: Scope) {
    this.options.database.query('select');
    const r: 'always' | 'on-failure' | 'never' = this.options.restart;
    // @ts-expect-error there is no such option
    this.options.nope;
    return [r, this.options.port, this.options.label];
  }
  override async stop(_reason: StopReason) {}
}
const database = new Database({ url: 'x' });
export const products = new Products({ port: 1, database, name: 'p' });
// @ts-expect-error port is missing
new Products({ database });
// @ts-expect-error wrong type
new Products({ port: 1, database: products });
// @ts-expect-error unknown option
new Products({ port: 1, database, nope: 1 });
// @ts-expect-error start is abstract and missing
class NoStart extends Service.extend({}) {}
class Plain extends Service {
  async start(scope: Scope) {
    scope.log.info('x');
  }
}
new Plain();
new Plain({ name: 'x', restart: 'never' });
// @ts-expect-error createApplication is abstract
class NoApp extends Base.extend({}) {}
void [NoStart, NoApp];
// @ts-expect-error abstract
new Base({ port: 1 });
