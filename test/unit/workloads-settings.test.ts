import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UnderspanError } from '../../src/errors.js';
import {
  kubernetesSettings,
  type KubernetesOptions,
} from '../../src/targets/kubernetes/settings.js';

const account = mkdtempSync(join(tmpdir(), 'underspan-account-'));
after(() => rmSync(account, { recursive: true }));
writeFileSync(join(account, 'token'), 'token');
writeFileSync(join(account, 'ca.crt'), 'certificate');

const inCluster = { KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '6443' };

const settings = (
  options: Partial<KubernetesOptions>,
): { source: string; url: string; nodeName: string; verify: boolean } | null => {
  const found = kubernetesSettings({
    source: 'auto',
    nodeName: null,
    url: null,
    serviceAccount: account,
    environment: inCluster,
    ...options,
  });
  if (!found) return null;
  const { source, url, nodeName, verify } = found;
  return { source, url: url.href, nodeName, verify };
};

test('within a cluster the API server is found by itself', () => {
  assert.deepEqual(settings({}), {
    source: 'api',
    url: 'https://10.0.0.1:6443/',
    nodeName: hostname(),
    verify: true,
  });
  const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', NODE_NAME: 'node-1' };
  assert.deepEqual(settings({ environment }), {
    source: 'api',
    url: 'https://[fd00::1]/',
    nodeName: 'node-1',
    verify: true,
  });
  assert.equal(settings({ environment, nodeName: 'node-2' })?.nodeName, 'node-2');
});

test('elsewhere nothing is asked', () => {
  assert.equal(settings({ environment: {} }), null);
  assert.equal(settings({ serviceAccount: '/nonexistent' }), null);
  assert.equal(settings({ source: 'none' }), null);
});

test('the kubelet is that of this node', () => {
  const environment = { NODE_IP: '192.0.2.7' };
  assert.equal(settings({ source: 'kubelet', environment })?.url, 'https://192.0.2.7:10250/');
  const url = 'http://127.0.0.1:10255';
  assert.equal(settings({ source: 'kubelet', url })?.url, `${url}/`);
  assert.equal(settings({ source: 'kubelet', environment, verify: false })?.verify, false);
  const none = kubernetesSettings({
    source: 'kubelet',
    nodeName: null,
    url,
    serviceAccount: '/nonexistent',
  });
  assert.deepEqual([none?.token, none?.authority], [null, null]);
});

test('what was asked for and is not there is an error', () => {
  const refused = (options: Partial<KubernetesOptions>, code: string, message: RegExp): void =>
    assert.throws(
      () => settings(options),
      (error: unknown) => {
        assert.ok(error instanceof UnderspanError);
        assert.equal(error.code, code);
        assert.match(error.message, message);
        return error.hint !== undefined;
      },
    );
  refused({ source: 'api', environment: {} }, 'KUBERNETES_NOT_FOUND', /KUBERNETES_SERVICE_HOST/);
  refused({ source: 'kubelet', environment: {} }, 'KUBERNETES_NOT_FOUND', /NODE_IP/);
  refused({ source: 'api', url: 'ftp://x' }, 'KUBERNETES_URL_INVALID', /ftp:/);
  refused({ source: 'api', url: 'node' }, 'KUBERNETES_URL_INVALID', /'node'/);
});
