import { Argument, Command, CommanderError, Option } from 'commander';
import { addAgent, type AgentValues } from './agent.js';
import { attach } from './attach.js';
import type { Context } from './context.js';
import type { DaemonValues } from './daemon.js';
import { exitStatus, renderError } from './errors.js';
import {
  addSelection,
  addTracing,
  type AttachValues,
  type SelectionValues,
  splitCommand,
  toSelection,
} from './options.js';
import { version } from './version.js';
import type { WhyValues } from './why.js';
import { addWhy } from './why-options.js';

/** Runs one command line, without the program's own name. Resolves to the exit status. */
export async function run(argv: readonly string[], context: Context): Promise<number> {
  const verbose = argv
    .slice(0, argv.includes('--') ? argv.indexOf('--') : undefined)
    .includes('--verbose');
  try {
    const { own, command } = splitCommand(argv);
    let status = 0;
    const program = build(context, command, (value) => (status = value));
    await program.parseAsync(own, { from: 'user' });
    return status;
  } catch (error) {
    const status = exitStatus(error, argv.includes('--'));
    // Help for a command line without a command has been printed already.
    const told = error instanceof CommanderError && error.code === 'commander.help';
    if (status !== 0 && !told) context.stderr.write(renderError(error, verbose));
    return status;
  }
}

const PATTERN_HELP = `
PATTERN is the full name of a function: main.(*Order).Confirm, or main.Order.Confirm for short.
* stands for any characters; /…/ is a regular expression. Put patterns in single quotes.
`;

/** What one command alone needs is loaded when it is run: the others need not wait for it. */
function build(
  context: Context,
  command: string[] | null,
  setStatus: (status: number) => void,
): Command {
  const program = new Command('trace')
    .description("Function spans under a program's own OpenTelemetry spans, without touching it")
    .version(version())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      // Said once, in one form, where all errors end.
      outputError: () => undefined,
    });
  const refuseCommand = (): void => {
    if (command !== null) program.error("only what takes a SELECTION takes a COMMAND behind '--'");
  };
  addAgent(addTracing(addSelection(program.command('attach'))))
    .description('trace functions now')
    .argument('[pattern...]', 'functions to trace')
    .usage('SELECTION [options] PATTERN… | [options] PATTERN… -- COMMAND ARG…')
    .addHelpText('after', PATTERN_HELP)
    .action(async (patterns: string[], values: AttachValues) => {
      const run =
        values.agent === undefined
          ? attach
          : (await import('./attach-agent.js')).attachThroughAgent;
      setStatus(await run(context, values, patterns, command));
    });
  addWhy(addSelection(program.command('why')))
    .description('what made the slow requests slow')
    .argument('[pattern...]', "functions to look at; by default the program's own")
    .usage('SELECTION [options] [PATTERN…]')
    .addHelpText('after', PATTERN_HELP)
    .action(async (patterns: string[], values: WhyValues) => {
      const { why } = await import('./why.js');
      setStatus(await why(context, values, patterns, command));
    });
  addSelection(program.command('symbols'))
    .description('what could be traced, and what not and why')
    .argument('[pattern...]', 'only these functions')
    .usage('SELECTION [options] [PATTERN…]')
    .optionsGroup('Output:')
    .addOption(listOutput())
    .addOption(verboseOption())
    .addHelpText('after', PATTERN_HELP)
    .action(async (patterns: string[], values: SelectionValues & ListValues) => {
      const { symbols } = await import('./symbols.js');
      await symbols(context, {
        selection: () => toSelection(values, command),
        patterns,
        json: values.output === 'json',
      });
    });
  addAgent(program.command('sessions'))
    .description('sessions that an agent runs')
    .addArgument(new Argument('[action]', 'what to do').choices(['list', 'stop']).default('list'))
    .argument('[id]', 'the session to stop')
    .usage('[list | stop ID] [options]')
    .optionsGroup('Output:')
    .addOption(listOutput())
    .addOption(verboseOption())
    .action(
      async (action: 'list' | 'stop', id: string | undefined, values: AgentValues & ListValues) => {
        refuseCommand();
        const { sessions } = await import('./sessions.js');
        await sessions(context, values, action, id, values.output === 'json');
      },
    );
  program
    .command('agent')
    .description('the daemon that traces by the rules of a configuration')
    .requiredOption('--config <file>', 'its configuration, in YAML')
    .option('--check', 'only say whether the configuration is right')
    .addOption(verboseOption())
    .action(async (values: DaemonValues) => {
      refuseCommand();
      const { daemon } = await import('./daemon.js');
      await daemon(context, values);
    });
  program
    .command('doctor')
    .description('what this host allows, and how to get the rest')
    .addOption(listOutput())
    .addOption(verboseOption())
    .action(async (values: ListValues) => {
      refuseCommand();
      const { doctor } = await import('./doctor.js');
      // Status 3: not supported here.
      setStatus((await doctor(context, values.output === 'json')) ? 0 : 3);
    });
  return program;
}

interface ListValues {
  output: 'text' | 'json';
}

const listOutput = (): Option =>
  new Option('-o, --output <format>', 'what standard output gets')
    .choices(['text', 'json'])
    .default('text');

const verboseOption = (): Option =>
  new Option('--verbose', "show more of an error: its stack, the kernel's words");
