import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { UnderspanError } from '../errors.js';
import { interpreterOf, resolveExecutable } from './executable.js';
import { fileId, Procfs } from './procfs.js';
import type { Target } from './target.js';

export interface CommandEnd {
  /** null: ended by a signal. */
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A command that has been started but does not run yet. */
export interface LaunchedCommand {
  /** What it will be: the command itself, or the interpreter of a script. */
  readonly target: Target;
  /** Path of the script, where the command is one: its interpreter may start another program. */
  readonly script: string | null;
  readonly exited: Promise<CommandEnd>;
  /** Lets it run. */
  release(): void;
  /** Sends it a signal; a held command ends without having run. */
  kill(signal: NodeJS.Signals): void;
}

/**
 * The shell that holds the command becomes the command (same pid and start time), with the
 * descriptor closed that it was held by. If this process dies first, the read fails and the
 * command never runs. The shell's ways are the command's own: argv[0] as it was written, and a
 * file without a first line that names an interpreter is run by it.
 */
const HOLD = 'read -r _ <&3 && exec 3<&- && exec "$@"';

/** Starts a command and holds it before its first instruction. */
export async function launch(
  command: readonly string[],
  procfs = new Procfs(),
): Promise<LaunchedCommand> {
  const [name = ''] = command;
  const path = resolveExecutable(name);
  const interpreter = interpreterOf(path);
  const file = interpreter === null ? path : resolveExecutable(interpreter);
  const child = spawn('/bin/sh', ['-c', HOLD, 'sh', ...command], {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
  });
  const exited = new Promise<CommandEnd>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  try {
    await once(child, 'spawn');
  } catch (error) {
    throw new UnderspanError(
      'failed',
      'COMMAND_FAILED',
      `${name} could not be started`,
      undefined,
      {
        cause: error,
      },
    );
  }
  const pid = child.pid as number;
  const hold = child.stdio[3] as NodeJS.WritableStream;
  // The command may have been killed while it was held.
  hold.on('error', () => undefined);
  return {
    target: {
      pid,
      startTime: procfs.stat(pid).startTime,
      comm: Buffer.from(path.slice(path.lastIndexOf('/') + 1))
        .subarray(0, 15)
        .toString(),
      exe: file,
      file,
      fileId: fileId(file),
      argv: [...command],
    },
    script: interpreter === null ? null : path,
    exited,
    release: () => void hold.end('\n'),
    kill: (signal) => void child.kill(signal),
  };
}
