// One end of a call as a process: `node peer.mjs CLIP.y4m WIDTH HEIGHT [shown]`, a Chromium whose camera
// plays the clip in this size, with or without a window. Commands come as JSON lines on standard input,
// reports go to standard output. Ends with its input.

import { createInterface } from 'node:readline'

import { browse } from '../browser.mjs'

const [picture, width, height, shown] = process.argv.slice(2)
const page = new URL('page.html', import.meta.url)
const flags = [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  `--use-file-for-fake-video-capture=${picture}`,
]
if (shown) flags.push('--ozone-platform=x11', '--window-position=0,0', '--window-size=1280,800')
const browser = await browse({ '/': [page, 'text/html'] }, flags, shown !== undefined)

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => browser.handle({ ...JSON.parse(line), width, height }))
lines.on('close', async () => {
  await browser.leave()
  process.exit(0)
})
