/**
 * The parts of undici that are used, each from its own file. The package's main file also loads fetch, WebSocket,
 * caches and mocks: three times the time, as much as all of peel's own modules, in every command on a registry's image.
 * The version is pinned in package.json, so that no file moves unseen.
 */
import type { Dispatcher, Agent as UndiciAgent } from 'undici';
import sendRequest from 'undici/lib/api/api-request.js';
import buildConnector from 'undici/lib/core/connect.js';
import Agent from 'undici/lib/dispatcher/agent.js';

export type { UndiciAgent };
export { Agent, buildConnector };

/** What the main file adds to Agent as its method `request`. */
export function requestOf(
  agent: UndiciAgent,
  options: Dispatcher.RequestOptions,
): Promise<Dispatcher.ResponseData> {
  return sendRequest.call(agent, options);
}
