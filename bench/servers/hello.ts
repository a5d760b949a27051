import { HttpService } from 'bosun/services/http';
import Fastify from 'fastify';

/** A Fastify app that needs no database. */
export class Hello extends HttpService {
  protected override createApplication() {
    const app = Fastify();
    app.get('/hello', async () => ({ hello: 'world' }));
    return app;
  }
}
