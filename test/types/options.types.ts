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

// An option replaces the one of its name above it: another default makes it optional, another type counts.
class Fixed extends Base.extend({ port: z.number().default(8080), host: z.enum(['a', 'b']) }) {
  protected override createApplication() {
    const port: number = this.options.port;
    const host: 'a' | 'b' = this.options.host;
    return [port, host];
  }
}
new Fixed({ host: 'a' });
// @ts-expect-error host is one of two
new Fixed({ host: 'c' });
// @ts-expect-error host has lost its default
new Fixed();

// A schema's transformation: what is given and what is seen differ.
class Parsed extends Service.extend({ list: z.string().transform((text) => text.split(',')) }) {
  async start() {
    const list: string[] = this.options.list;
    return void list;
  }
}
new Parsed({ list: 'a,b' });
// @ts-expect-error what is given is text
new Parsed({ list: ['a'] });

// A service may be generic in its own right.
abstract class Store<Item> extends Service.extend({ max: z.int().default(10) }) {
  readonly items: Item[] = [];
  protected abstract accept(item: Item): boolean;
  add(item: Item): void {
    if (this.items.length < this.options.max && this.accept(item)) this.items.push(item);
  }
  async start() {}
}
class Names extends Store<string> {
  protected accept(name: string): boolean {
    return name.length > 0;
  }
}
const names = new Names({ max: 5 });
names.add('x');
// @ts-expect-error items are text
names.add(1);
// @ts-expect-error protected
names.accept('x');
// @ts-expect-error options are read-only
names.options.max = 6;

// Protected members and constructors survive further extension; a reference takes an abstract class.
class Consumer extends Service.extend({ store: service(Store), spare: service(Store).optional() }) {
  async start() {
    const size: number = this.options.store.items.length;
    return void [size, this.options.spare?.name];
  }
}
new Consumer({ store: names });
// @ts-expect-error no store
new Consumer({ store: database });
class Further extends Products.extend({ extra: z.boolean().default(false) }) {
  protected override async createApplication(scope: Scope) {
    const extra: boolean = this.options.extra;
    return extra ? [] : await super.createApplication(scope);
  }
}
new Further({ port: 1, database, extra: true });
// @ts-expect-error the options of every level count
new Further({ port: 1 });

// Static members come along.
class Counted extends Service.extend({}) {
  static readonly made: number = 0;
  async start() {}
}
export const made: number = Counted.extend({}).made;
