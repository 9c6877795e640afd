/**
 * A process that delivers spans through a spool, to be killed, or stopped by SIGTERM:
 * `ENDPOINT DIRECTORY PREFIX [PROTOCOL]`. The spans' ids begin with PREFIX; with none it delivers
 * what it finds and ends. It writes a line of JSON whenever one of its counts changes.
 */
import { writeSync } from 'node:fs';
import { sinkTo, spanOf } from './otlp-sink.js';

const [endpoint = '', directory = '', prefix = '', protocol = 'grpc'] = process.argv.slice(2);
const spool = { directory, maxBytes: 64 * 1024 * 1024 };
const { sink } = sinkTo(endpoint, { spool, protocol });
let made = 0;
let turns = 0;
let told = '';

function tree(): ReturnType<typeof spanOf>[] {
  return Array.from({ length: 40 }, () =>
    spanOf({ spanId: prefix + (++made).toString(16).padStart(16 - prefix.length, '0') }),
  );
}

function tell(): void {
  const { delivered, repeated, spooledSpans, queuedSpans, lost } = sink.state();
  const now = JSON.stringify({ delivered, repeated, spooledSpans, queuedSpans, lost });
  if (now !== told) writeSync(1, `${now}\n`);
  told = now;
}

/** Every turn, so that hardly a count is missed when the process is killed. */
function turn(): void {
  tell();
  const { delivered, spooledSpans, queuedSpans, lost } = sink.state();
  const settled = delivered + (lost['spoolCorrupt'] ?? 0);
  if (prefix === '' && settled > 0 && spooledSpans === 0) return void sink.close();
  // Some thousand spans a second, so that what arrives can be read in the end.
  if (prefix !== '' && ++turns % 4 === 0 && queuedSpans < 2_000) sink.spans(tree());
  timer = setTimeout(turn, 1);
}

let timer: NodeJS.Timeout | undefined;
process.once('SIGTERM', () => {
  clearTimeout(timer);
  void sink.flush(5_000).then(async () => {
    await sink.close();
    tell();
  });
});
turn();
