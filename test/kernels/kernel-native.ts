/** Whether what the kernel does for functions of C is beneath their spans, thread by thread. */
import assert from 'node:assert/strict';
import { Tracer } from '../tools/tracer.js';
import { byParent, nodesOf, shape } from './kernel-tree.js';

const ROUNDS = 20;
const THREADS = 2;
const EXPECTED = 'work(kernel:vfs_write store(kernel:vfs_write kernel:vfs_write kernel:vfs_write))';

export async function checkKernelOfNative(): Promise<string> {
  const symbols = ['work', 'store', 'kernel:vfs_write'].flatMap((name) => ['--symbol', name]);
  const values = ['--arg', 'size', '--arg', 'count'];
  const tracer = Tracer.start([...symbols, ...values, '--', '/writes', String(ROUNDS)]);
  assert.equal(await tracer.ended(), 0, tracer.stderr);
  process.stderr.write(tracer.stderr);
  const nodes = nodesOf(tracer.spans);
  const childrenOf = byParent(nodes);
  const shapes = nodes
    .filter(({ name }) => name === 'work')
    .map((node) => {
      assert.equal(node.parentSpanId, null);
      return shape(node, childrenOf);
    });
  assert.deepEqual([...new Set(shapes)], [EXPECTED]);
  assert.equal(shapes.length, THREADS * ROUNDS);
  const sizes = nodes.map(({ name, parentSpanId }, index) => {
    const attributes = tracer.spans[index]?.attributes ?? {};
    const around = nodes.find(({ spanId }) => spanId === parentSpanId)?.name;
    const value = attributes[`underspan.arg.${name === 'store' ? 'size' : 'count'}`];
    return `${name} in ${around}: ${value}`;
  });
  assert.deepEqual([...new Set(sizes)].sort(), [
    'kernel:vfs_write in store: 7',
    'kernel:vfs_write in work: 6',
    'store in work: 7',
    'work in undefined: undefined',
  ]);
  const threads = new Set(tracer.spans.map(({ attributes }) => attributes['thread.id']));
  assert.equal(threads.size, THREADS);
  const lost = Object.values(tracer.result.lost).reduce((a, b) => a + b, 0);
  assert.equal(lost, 0, JSON.stringify(tracer.result.lost));
  return `${shapes.length} calls of C on ${THREADS} threads have what the kernel did for them`;
}
