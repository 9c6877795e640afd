#!/usr/bin/env node
import { planTrace, startTrace } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import { Procfs } from '../src/targets/procfs.js';
import { exitStatus, renderError } from './errors.js';
import { run } from './run.js';
import { openSinks } from './sinks.js';

// A user is never shown a stack, also where a mistake of ours has no other way out.
process.on('uncaughtException', (error) => {
  process.stderr.write(renderError(error, process.argv.includes('--verbose')));
  process.exit(exitStatus(error, process.argv.includes('--')));
});

// A reader that went away, as head(1) does, is a quiet end.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

const status = await run(process.argv.slice(2), {
  native: loadNative,
  startTrace,
  planTrace,
  openSinks,
  procfs: new Procfs(),
  stdout: process.stdout,
  stderr: process.stderr,
});
// What is written to a pipe is written later; nothing else is worth waiting for.
process.stdout.write('', () => process.exit(status));
