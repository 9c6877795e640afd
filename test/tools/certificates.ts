/** Certificates for a test, made by openssl. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

export interface Certificate {
  certificate: string;
  key: string;
}

/** One that signs itself, and may sign others. */
export function makeAuthority(folder: string, name: string): Certificate {
  return make(folder, name, ['-addext', 'basicConstraints=critical,CA:TRUE']);
}

/** For a client, and for a server on this machine. */
export function makeCertificate(folder: string, name: string, by: Certificate): Certificate {
  return make(folder, name, [
    ...['-CA', by.certificate, '-CAkey', by.key],
    ...['-addext', 'basicConstraints=critical,CA:FALSE'],
    ...['-addext', 'subjectAltName=IP:127.0.0.1'],
  ]);
}

function make(folder: string, name: string, options: string[]): Certificate {
  const certificate = join(folder, `${name}.crt`);
  const key = join(folder, `${name}.key`);
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-subj', `/O=Underspan/CN=${name}`, '-days', '2', '-keyout', key, '-out', certificate],
      ...options,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  return { certificate, key };
}
