import { Command } from 'commander';
import { Client } from './client.ts';
import { type FindOptions, findDaemon } from './find-daemon.ts';
import { endQuietlyOnBrokenPipe } from './output.ts';

/** Options of every command that talks to a running daemon. */
export interface DaemonOptions extends FindOptions {
  readonly json?: boolean;
}

const findHelp = `
The daemon is found through its admin service: at --admin or BOSUN_ADMIN (http://127.0.0.1:7171, or the path of a
Unix socket), else where the config in this directory, or --config, has it. A token is taken from --token-file,
BOSUN_ADMIN_TOKEN or the config.

Examples:
`;

/** A command that talks to a running daemon; `examples` begin with the command's name. */
export function daemonCommand(name: string, description: string, examples: readonly string[]): Command {
  return new Command(name)
    .description(description)
    .option('--admin <address>', 'where the daemon is: a URL, or the path of a Unix socket')
    .option('--config <file>', 'the config that the daemon runs')
    .option('--token-file <file>', 'a file with the token of its admin service')
    .option('--json', 'print JSON')
    .addHelpText('after', `${findHelp}${examples.map((example) => `  $ bosun ${example}`).join('\n')}`);
}

/** A client of the daemon that is meant. */
export async function connect(options: DaemonOptions): Promise<Client> {
  endQuietlyOnBrokenPipe();
  return new Client(await findDaemon(options, process.env));
}
