/** A control server that really traces: `control-runner SOCKET AUDIT`. Says "ready", ends by SIGTERM. */
import { ControlServer } from '../../src/agent/control/server.js';
import { loadNative } from '../../src/native/load.js';

const [socket = '', auditLog = ''] = process.argv.slice(2);
const say = (object: object, message: string): void => console.error(message, object);
const server = new ControlServer({
  config: { socket, network: null, maxDurationMs: 60_000, maxSessions: 3, auditLog },
  native: loadNative(),
  log: { info: say, warn: say, error: say },
  version: '0.0.0',
});
await server.start();
console.log('ready');
process.once('SIGTERM', () => {
  void server.close('the runner was told to').then(() => process.exit(0));
});
