/** Debian's promtool, unpacked and not installed. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { debianPackage } from './debian.js';
import type { Skippable } from './require.js';

const run = promisify(execFile);

export type Promtool = (args: string[]) => Promise<{ ok: boolean; output: string }>;

/** null if the test was skipped, since there is no way to get it. */
export async function promtool(t: Skippable): Promise<Promtool | null> {
  let folder: string;
  try {
    folder = await debianPackage('trixie', 'promtool');
  } catch (error) {
    t.skip(`promtool cannot be had: ${String(error).split('\n')[0] ?? ''}`);
    return null;
  }
  return async (args) => {
    try {
      const { stdout, stderr } = await run(join(folder, 'usr/bin/promtool'), args);
      return { ok: true, output: stdout + stderr };
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      return { ok: false, output: stdout + stderr || String(error) };
    }
  };
}
