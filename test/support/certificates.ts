/** Certificates for tests, made by openssl: an authority, and server or client certificates that it signs. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const EC_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Certificate {
  /** `names` as in subjectAltName: `DNS:localhost,IP:127.0.0.1`. */
  issue(name: string, names: string, options?: { readonly isExpired?: boolean }): Promise<Certificate>;
}

export async function makeAuthority(directory: string): Promise<Authority> {
  await mkdir(directory, { recursive: true });
  const own = files(directory, 'ca');
  const subject = ['-days', '30', '-subj', '/CN=peel test authority'];
  const extensions = ['-addext', 'basicConstraints=critical,CA:TRUE'];
  await openssl([
    'req',
    '-x509',
    ...EC_KEY,
    ...subject,
    ...extensions,
    '-keyout',
    own.keyFile,
    '-out',
    own.certFile,
  ]);
  return {
    ...(await load(own)),
    issue: async (name, names, options = {}) => {
      const issued = files(directory, name);
      const request = path.join(directory, `${name}.csr`);
      const extension = path.join(directory, `${name}.ext`);
      await writeFile(extension, `subjectAltName=${names}\n`);
      await openssl(['req', ...EC_KEY, '-subj', `/CN=${name}`, '-keyout', issued.keyFile, '-out', request]);
      const signer = ['-CA', own.certFile, '-CAkey', own.keyFile, '-CAcreateserial'];
      // Zero days: over at the second in which it begins.
      const days = ['-days', options.isExpired === true ? '0' : '30'];
      await openssl([
        'x509',
        '-req',
        '-in',
        request,
        ...signer,
        ...days,
        '-extfile',
        extension,
        '-out',
        issued.certFile,
      ]);
      return load(issued);
    },
  };
}

export async function makeSelfSigned(directory: string, name: string, names: string): Promise<Certificate> {
  await mkdir(directory, { recursive: true });
  const own = files(directory, name);
  const subject = ['-days', '30', '-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`];
  await openssl(['req', '-x509', ...EC_KEY, ...subject, '-keyout', own.keyFile, '-out', own.certFile]);
  return load(own);
}

function files(directory: string, name: string): { readonly certFile: string; readonly keyFile: string } {
  return { certFile: path.join(directory, `${name}.crt`), keyFile: path.join(directory, `${name}.key`) };
}

async function load(of: { readonly certFile: string; readonly keyFile: string }): Promise<Certificate> {
  return { ...of, cert: await readFile(of.certFile, 'utf8'), key: await readFile(of.keyFile, 'utf8') };
}

async function openssl(args: readonly string[]): Promise<void> {
  await run('openssl', [...args], { timeout: 20_000 });
}
