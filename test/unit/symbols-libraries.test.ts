/** Functions of libraries are looked for where a process has them mapped, as attaching does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RunningProcess } from '../tools/process.js';
import { trace } from '../tools/tracer.js';

test('symbols of libraries', async () => {
  const target = await RunningProcess.start('/bin/sleep', ['60']);
  try {
    await target.until('mapped', async () => {
      const { stdout } = await list('libc.so:getpid');
      return stdout === '' ? null : true;
    });
    const { status, stdout } = await list('libc.so:getpid');
    assert.equal(status, 0);
    assert.match(stdout, /^\/\S*libc\.so\S* \(pid \d+\): 1 of 1 function can be traced\n/);
    assert.match(stdout, / getpid( |$)/m);
    // Named without its module, a function is one of the executable.
    const missing = await list('libnothing.so:f');
    assert.equal(missing.status, 4);
    assert.match(missing.stderr, /none of the chosen processes has the file of 'libnothing.so:f'/);
    assert.equal((await list('getpid')).status, 4);
    const command = await trace(['symbols', 'libc.so:getpid', '--', '/bin/sleep']);
    assert.match(command.stdout, /^\/\S*libc\.so/);
  } finally {
    await target.stop('SIGKILL');
  }

  function list(pattern: string): ReturnType<typeof trace> {
    return trace(['symbols', '--pid', String(target.pid), pattern]);
  }
});
