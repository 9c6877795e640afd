/**
 * A process that delivers spans through a spool, to be killed: `ENDPOINT DIRECTORY PREFIX`. The
 * spans' ids begin with PREFIX; with none it delivers what it finds and ends. It writes a line of
 * JSON whenever one of its counts changes.
 */
import { writeSync } from 'node:fs';
import { sinkTo, spanOf } from './otlp-sink.js';

const [endpoint = '', directory = '', prefix = ''] = process.argv.slice(2);
const { sink } = sinkTo(endpoint, { spool: { directory, maxBytes: 64 * 1024 * 1024 } });
let made = 0;
let told = '';

function tree(): ReturnType<typeof spanOf>[] {
  return Array.from({ length: 40 }, () =>
    spanOf({ spanId: prefix + (++made).toString(16).padStart(16 - prefix.length, '0') }),
  );
}

/** Every turn, so that hardly a count is missed when the process is killed. */
function turn(): void {
  const { delivered, repeated, spooledSpans, queuedSpans, lost } = sink.state();
  const corrupt = lost['spoolCorrupt'] ?? 0;
  const now = JSON.stringify({ delivered, repeated, spooledSpans, corrupt });
  if (now !== told) writeSync(1, `${now}\n`);
  told = now;
  if (prefix !== '' && queuedSpans < 2_000) sink.spans(tree());
  if (prefix === '' && delivered + corrupt > 0 && spooledSpans === 0) void sink.close();
  else setTimeout(turn, 1);
}

turn();
