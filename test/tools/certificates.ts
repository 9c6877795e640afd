import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ServerCertificate {
  key: Buffer;
  cert: Buffer;
  /** File of the authority that signed it. */
  authority: string;
}

/** An authority, and a certificate of it for 127.0.0.1 and localhost. */
export function makeCertificate(folder: string): ServerCertificate {
  const file = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  };
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    ...['req', '-x509', ...newKey, '-keyout', file('ca.key'), '-out', file('ca.crt')],
    ...['-subj', '/CN=kubernetes', '-days', '2'],
  );
  openssl(
    ...['req', ...newKey, '-keyout', file('tls.key'), '-out', file('tls.csr')],
    ...['-subj', '/CN=server'],
  );
  writeFileSync(file('tls.ext'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  openssl(
    ...['x509', '-req', '-in', file('tls.csr'), '-CA', file('ca.crt'), '-CAkey', file('ca.key')],
    ...['-CAcreateserial', '-out', file('tls.crt'), '-days', '2', '-extfile', file('tls.ext')],
  );
  return {
    key: readFileSync(file('tls.key')),
    cert: readFileSync(file('tls.crt')),
    authority: file('ca.crt'),
  };
}
