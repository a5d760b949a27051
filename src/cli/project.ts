import { configJsonSchema } from '../config/json-schema.ts';
import { builtInClasses } from '../config/use.ts';
import { ownPackage } from './own-package.ts';

const service = `import { HttpService } from 'bosun/services/http';
import { z } from 'zod';

/** Greets whoever asks: \`curl 'localhost:8080/?name=Ada'\`. */
export class Hello extends HttpService.extend({ greeting: z.string().min(1).default('hello') }) {
  protected override createApplication() {
    return {
      fetch: (request: Request) => {
        const name = new URL(request.url).searchParams.get('name') ?? 'world';
        return Response.json({ message: \`\${this.options.greeting}, \${name}\` });
      },
    };
  }
}
`;

const config = `# yaml-language-server: $schema=bosun.schema.json
log: { level: info }
shutdown: { timeout: 10s }
services:
  hello:
    use: ./hello.ts
    port: "\${PORT:-8080}"
    greeting: hello
  echo: { use: tcp-echo, port: "\${ECHO_PORT:-8901}" }
`;

const readme = (name: string) => `# ${name}

A Bosun daemon: an HTTP service (\`hello.ts\`) and a TCP echo, put together in
\`bosun.yaml\`. Node.js >= 24.

\`\`\`sh
npm install
npm start                           # Ctrl-C stops it
curl 'localhost:8080/?name=Ada'
npm run check                       # is the config right? starts nothing
npm run schema                      # after a change of options: editors complete them
\`\`\`

\`PORT\` and \`ECHO_PORT\` say where it listens. \`kill -HUP\` makes it read \`bosun.yaml\` again.
`;

/** The files of a small project that runs, by their names. */
export async function projectFiles(directoryName: string): Promise<Record<string, string>> {
  const { version, dependencies } = ownPackage();
  const name =
    directoryName
      .toLowerCase()
      .replace(/[^a-z\d._~-]+/g, '-')
      .replace(/^[._-]+/, '') || 'daemon';
  const manifest = {
    name,
    private: true,
    type: 'module',
    engines: { node: '>=24' },
    scripts: {
      start: 'bosun run',
      check: 'bosun check',
      schema: 'bosun schema bosun.yaml > bosun.schema.json',
    },
    dependencies: { bosun: `^${version}`, zod: dependencies.zod },
  };
  const schema = configJsonSchema({ uses: await builtInClasses(), services: [] });
  return {
    'package.json': json(manifest),
    'bosun.yaml': config,
    'bosun.schema.json': json(schema),
    'hello.ts': service,
    '.gitignore': 'node_modules/\n',
    'README.md': readme(name),
  };
}

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
