/** From the text of a configuration file to what it says, or to all that is wrong with it. */
import { open } from 'node:fs/promises';
import { UnderspanError } from '../../errors.js';
import type { AgentConfig } from './config.js';
import { duplicateRules } from './duplicates.js';
import { toProblems } from './issues.js';
import { invalid, placeOf, type Position } from './problem.js';
import { agentSchema } from './schema.js';
import { MAX_BYTES, type Path, Source } from './source.js';

export interface ParsedConfig {
  /** As it was given. */
  file: string;
  config: AgentConfig;
  /**
   * Where something was written, by its keys in the file and numbers from 0, such as
   * ['rules', 0, 'trace', 'symbols', 2]; what is not there is where it would belong.
   */
  positionOf(path: Path): Position;
  /** The same as FILE:LINE:COLUMN. */
  placeOf(path: Path): string;
}

/** Throws an UnderspanError that lists every problem, each with its place. */
export function parseConfig(
  text: string,
  file: string,
  environment: NodeJS.ProcessEnv = process.env,
): ParsedConfig {
  const source = new Source(text, environment);
  if (source.problems.length > 0) throw invalid(file, source.problems);
  const parsed = agentSchema.safeParse(source.value);
  const problems = duplicateRules(source);
  if (!parsed.success) problems.push(...toProblems(parsed.error.issues, source));
  if (!parsed.success || problems.length > 0) throw invalid(file, problems);
  return {
    file,
    config: parsed.data,
    positionOf: (path) => source.position(path),
    placeOf: (path) => placeOf(file, source.position(path)),
  };
}

/** Throws an UnderspanError also where the file cannot be read. */
export async function readConfig(
  file: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<ParsedConfig> {
  let text: string;
  try {
    text = await readBounded(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UnderspanError(
      code === 'ENOENT' ? 'not-found' : code === 'EACCES' ? 'not-permitted' : 'usage',
      'CONFIG_UNREADABLE',
      `the configuration ${file} cannot be read: ${message}`,
      'give the path of a YAML file',
      { cause: error },
    );
  }
  return parseConfig(text, file, environment);
}

/** One byte more than is allowed tells that the file is too large. */
async function readBounded(file: string): Promise<string> {
  const handle = await open(file);
  try {
    const buffer = Buffer.alloc(MAX_BYTES + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await handle.read(buffer, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return buffer.toString('utf8', 0, length);
  } finally {
    await handle.close();
  }
}
