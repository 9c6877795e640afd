import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inFolder } from './folder.js';
import { compileNative } from './native-targets.js';

/** test/targets/native/crowd.c as it runs; it calls nothing before its first line. */
export interface Crowd {
  pid: number;
  say(line: string): void;
  /** Its next line. */
  hear(): Promise<string>;
  /** Nothing more is said to it, and so it ends. */
  end(): void;
  kill(): void;
}

export function withCrowd(use: (crowd: Crowd) => Promise<void>): Promise<void> {
  return inFolder(async (folder) => {
    const binary = await compileNative('gcc', 'crowd.c', join(folder, 'crowd'), [
      '-O1',
      '-fcf-protection',
      '-fno-omit-frame-pointer',
    ]);
    const child = spawn(binary, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const hear = async (): Promise<string> => ((await lines.next()) as { value: string }).value;
    try {
      assert.equal(await hear(), 'ready');
      await use({
        pid: child.pid ?? 0,
        say: (line) => void child.stdin.write(`${line}\n`),
        hear,
        end: () => void child.stdin.end(),
        kill: () => void child.kill('SIGKILL'),
      });
    } finally {
      child.kill('SIGKILL');
    }
  });
}
