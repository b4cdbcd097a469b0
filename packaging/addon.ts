// The addon as it is published, built from its sources in a folder of its own: the one that a checkout runs on stays as it is.

import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DIST, NODE_FOLDER, ROOT, run } from './checkout.ts';

const FOLDER = join(DIST, 'addon');
const SOURCES = ['package.json', 'binding.gyp', 'src'];

/**
 * One addon for every Node.js, because Node-API is stable; stripped, so that two builds are alike. Built with the headers of
 * the checkout: nothing is fetched.
 * @returns its file, in a folder `prebuilds/linux-ARCH` as node-gyp-build looks for it
 */
export async function prebuildAddon(): Promise<string> {
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true });
  for (const name of SOURCES) await cp(join(ROOT, 'native', name), join(FOLDER, name), { recursive: true });
  const tool = join(ROOT, 'packaging/tools/node_modules/prebuildify/bin.js');
  await run('node', [tool, '--napi', '--strip', '--tag-libc', '--target', process.version], {
    cwd: FOLDER,
    env: { npm_config_nodedir: NODE_FOLDER },
  });
  const built = await readdir(join(FOLDER, 'prebuilds'), { recursive: true });
  const addon = built.find((path) => path.endsWith('.node'));
  if (addon === undefined) throw new Error(`prebuildify left no addon in ${FOLDER}/prebuilds`);
  return join(FOLDER, 'prebuilds', addon);
}
