/** The body of a small answer, read whole: a manifest, a page of a list. */
import { PeelError } from '../../errors.ts';
import { refuseEncoding } from './content-range.ts';
import type { ClientAnswer, RegistryClient } from './registry-client.ts';
import type { Operation } from './registry-host.ts';
import { TransportFailure } from './transport-failure.ts';

/**
 * undefined: the connection failed, the operation has waited, and another try may begin.
 * @throws PeelError, ERR_LIMIT_EXCEEDED past `maxBytes`.
 */
export async function readBody(
  client: RegistryClient,
  { answer, host }: ClientAnswer,
  maxBytes: number,
  doing: string,
  operation: Operation,
): Promise<Buffer | undefined> {
  try {
    const refuse = (why: string): PeelError =>
      new PeelError('ERR_REGISTRY_RESPONSE', `${doing}: from ${host.config.name} ${why}`);
    refuseEncoding(answer, refuse, client.secrets);
    return await answer.readAll(maxBytes, doing);
  } catch (error) {
    answer.close();
    if (!(error instanceof TransportFailure)) {
      throw error;
    }
    const failure = error.toError(doing, host.config.name);
    if (!error.isRetryable) {
      throw failure;
    }
    client.demote(host);
    await operation.tries.wait(failure, operation.signal);
    return undefined;
  }
}
