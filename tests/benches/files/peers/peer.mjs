// One end of a transfer as a process: `node peer.mjs KIND`, KIND being wrtc, node-datachannel or
// chromium. Commands come as JSON lines on standard input, reports go to standard output. The npm
// packages lie in the directory that PEER_PACKAGES names. Ends with its input.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

import { browse } from '../../browser.mjs'
import { HIGH_WATER_BYTES, LOW_WATER_BYTES, counter, transfer } from './transfer.mjs'

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)
const load = (name) => createRequire(`${process.env.PEER_PACKAGES}/`)(name)

function nodeDatachannel() {
  const { PeerConnection } = load('node-datachannel')
  // Its default refuses more than 256 KiB already.
  const peer = new PeerConnection('bench', { iceServers: [], maxMessageSize: 262144 })
  let channel = null
  peer.onGatheringStateChange((state) => {
    if (state !== 'complete') return
    const { type, sdp } = peer.localDescription()
    say({ type: 'description', kind: type, sdp })
  })
  return async (command) => {
    switch (command.type) {
      case 'send':
        channel = peer.createDataChannel('file')
        channel.onOpen(() => say({ type: 'open' }))
        break
      case 'receive':
        peer.onDataChannel((incoming) => {
          channel = incoming
          const report = counter(command.bytes, say)
          channel.onMessage((data) => report(data.byteLength))
        })
        break
      case 'description':
        peer.setRemoteDescription(command.sdp, command.kind)
        break
      case 'go':
        sendNative(channel, command.message_bytes, command.bytes)
        break
    }
  }
}

function sendNative(channel, messageBytes, bytes) {
  const message = Buffer.alloc(messageBytes)
  let left = bytes
  const fill = () => {
    while (left > 0 && channel.bufferedAmount() < HIGH_WATER_BYTES) {
      channel.sendMessageBinary(left < messageBytes ? message.subarray(0, left) : message)
      left -= Math.min(messageBytes, left)
    }
  }
  channel.setBufferedAmountLowThreshold(LOW_WATER_BYTES)
  channel.onBufferedAmountLow(fill)
  fill()
}

// Its page runs the same code.
async function chromium() {
  const here = (file) => new URL(file, import.meta.url)
  const browser = await browse({
    '/': [here('page.html'), 'text/html'],
    '/transfer.mjs': [here('transfer.mjs'), 'text/javascript'],
  })
  leave = browser.leave
  return browser.handle
}

let handle
let leave = async () => {}
switch (process.argv[2]) {
  case 'wrtc':
    handle = transfer(load('@roamhq/wrtc').RTCPeerConnection, say)
    say({ type: 'ready' })
    break
  case 'node-datachannel':
    handle = nodeDatachannel()
    say({ type: 'ready' })
    break
  case 'chromium':
    // The page says when it is ready.
    handle = await chromium()
    break
  default:
    throw new Error(`no such peer: ${process.argv[2]}`)
}

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  handle(JSON.parse(line)).catch((error) => say({ type: 'error', text: `${error}` }))
})
lines.on('close', async () => {
  await leave()
  process.exit(0)
})
